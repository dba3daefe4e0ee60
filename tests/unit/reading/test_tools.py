"""The reading tools without a plane: their definitions, their arguments as models write them, and the next step."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker_plane.errors import GrantExpiredError, WireError
from broker_plane.reading.answers import BodyDescription, ReadAnswer, read_answer
from broker_plane.reading.request import ReadRequest, parse_read_request
from broker_plane.reading.tool_arguments import read_arguments
from broker_plane.reading.tool_texts import read_text
from broker_plane.reading.tools import ReadingTool, next_step, reading_tools

pytestmark = pytest.mark.anyio
URL = "http://127.0.0.1:1/s2sp/data/grant"


class Plane:
    """Remembers what it is asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: dict[str, Any] = {}
        self.error = error

    async def read(self, address: str, **what: Any) -> ReadAnswer:
        if self.error:
            raise self.error
        self.asked = {"address": address, **what}
        return ReadAnswer(text="_row_id,a\n3,x\n4,y", unit="rows", first=3, count=2, total=10, next="rows=5-")

    async def describe(self, address: str) -> BodyDescription:
        column = {"name": "a", "type": "str", "nulls": 0, "distinct": 2, "examples": ["x", "y"]}
        return BodyDescription(kind="table", media_type="", facts={"rows": 10}, columns=(column,))


def tool(name: str) -> ReadingTool:
    return next(each for each in reading_tools() if each.name == name)


async def test_a_call_reads_and_says_how_to_go_on() -> None:
    plane = Plane()
    answer = await tool("read_body").call(plane, {"resource_url": URL, "rows": "3-"})
    assert plane.asked == {"address": URL, "rows": "3-"}
    assert not answer.is_error
    assert answer.text == "_row_id,a\n3,x\n4,y\n[2 rows of 10, from number 3; next: rows=5-]"


async def test_a_description_is_a_line_a_column() -> None:
    answer = await tool("describe_body").call(Plane(), {"resource_url": URL})
    assert answer.text == 'table: rows 10\n- a: str; nulls 0, distinct 2, examples ["x","y"]'


async def test_errors_are_answers() -> None:
    ended = await tool("read_body").call(Plane(GrantExpiredError("This grant has expired")), {"resource_url": URL})
    assert (ended.text, ended.is_error) == ("This grant has expired", True)
    wrong: list[dict[str, Any]] = [{}, {"resource_url": ""}, {"resource_url": URL, "pages": 2}]
    for arguments in (*wrong, {"resource_url": URL, "page": "two"}):
        assert (await tool("read_body").call(Plane(), arguments)).is_error
    assert "resource_url is missing" in (await tool("describe_body").call(Plane(), {})).text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"page": "2", "max_tokens": "500"}, {"page": 2, "max_tokens": 500}),
        ({"page": 2.0, "rows": None, "grep": "", "where": "null"}, {"page": 2}),
        ({"rows": [3, 7]}, {"rows": "3,7"}),
        ({"rows": 5}, {"rows": "5"}),
        ({"rows": "[10-20]"}, {"rows": "10-20"}),
        ({"where": "WHERE n > 3;", "columns": "a, b"}, {"where": "n > 3", "columns": ["a", "b"]}),
        ({"columns": '["a", "b"]'}, {"columns": ["a", "b"]}),
        ({"columns": []}, {}),
        ({"grep": "`x`"}, {"grep": "`x`"}),
    ],
)
def test_arguments_are_read_as_models_write_them(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_arguments({"resource_url": f"<{URL}>", **arguments}) == (URL, expected)


@pytest.mark.parametrize("arguments", [{"page": True}, {"page": 1.5}, {"columns": [1]}, {"grep": 3}, {"rows": {}}])
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        read_arguments({"resource_url": URL, **arguments})


def test_definitions_are_short() -> None:
    sizes = {
        each.name: len(json.dumps([each.name, each.description, each.input_schema], separators=(",", ":")))
        for each in reading_tools()
    }
    assert sizes["read_body"] <= 640
    assert sizes["describe_body"] <= 300


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        (
            "table",
            ["read_body", "query_body", "other"],
            "24 things. To read on: query_body(sql, bodies={'a': resource_url}) or read_body(resource_url, where=…); "
            "or hand resource_url to a tool that takes it.",
        ),
        (
            "text",
            ["plane_read_body"],
            "24 things. To read on: plane_read_body(resource_url, grep=…); or hand resource_url "
            "to a tool that takes it.",
        ),
        ("json", [], "24 things. Hand resource_url to a tool that takes it."),
    ],
)
def test_the_next_step_names_only_tools_that_are_there(kind: Any, names: list[str], expected: str) -> None:
    assert next_step("24 things", kind, names) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"page": 0},
        {"page": "1"},
        {"page": 1, "head": 2},
        {"rows": "1", "page": 2},
        {"grep": "x", "json_path": "$"},
        {"grep": ""},
        {"grep": "x" * 501},
        {"json_path": "x" * 1_001},
        {"rows": "1," * 3_000},
        {"columns": "a"},
        {"max_tokens": 0},
        {"max_tokens": 20_001},
        {"max_tokens": True},
        {"limit": 3},
    ],
)
def test_a_request_that_is_wrong_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        parse_read_request(fields)


@pytest.mark.parametrize(
    "request_",
    [ReadRequest(), ReadRequest(grep="a", rows="5-"), ReadRequest(head=3, columns=("a", "b"), max_tokens=99)],
)
def test_a_request_is_read_from_the_wire(request_: ReadRequest) -> None:
    assert parse_read_request(request_.to_wire()) == request_


@pytest.mark.parametrize("fields", [None, [], {}, {"text": 1}, {"text": "", "unit": "pages", "first": 0, "count": 0}])
def test_an_answer_that_is_none_is_refused(fields: Any) -> None:
    with pytest.raises(WireError):
        read_answer(fields)


def test_the_place_of_an_answer() -> None:
    nothing = ReadAnswer(text="", unit="lines", first=0, count=0, total=None)
    assert read_text(nothing) == "[no lines]"
    one = ReadAnswer(text="x…[9 more bytes]\n", unit="json", first=0, count=1, total=1, cut=True)
    assert read_text(one) == "x…[9 more bytes]\n[1 value of 1, number 0; shortened at …]"
