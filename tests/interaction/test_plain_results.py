"""Without `abstract_domains`, a tool's result is the one that the SDK's own server gives, in one text block."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.server.mcpserver import Image, MCPServer
from mcp.types import CallToolResult, TextContent, Tool
from pydantic import AnyUrl, BaseModel, RootModel
from typing_extensions import TypedDict

from broker_plane import PlaneServer
from tests.interaction.conftest import shape_of, text_of

pytestmark = pytest.mark.anyio

ROWS = [{"id": number, "name": f"row {number}"} for number in range(3)]
PNG = b"\x89PNG\r\n\x1a\n"


class Line(BaseModel):
    text: str
    next: Line | None = None


class Report(BaseModel):
    title: str
    made: datetime
    lines: list[Line]
    size: int = 0


class Link(BaseModel):
    url: AnyUrl
    seen: set[int]


class Total(TypedDict):
    total: int


class Point(NamedTuple):
    x: int


@dataclass
class Record:
    a: int


def rows() -> list[dict[str, Any]]:
    return ROWS


def no_rows() -> list[dict[str, Any]]:
    return []


def models() -> list[Line]:
    return [Line(text="a", next=Line(text="b"))]


def texts() -> list[str]:
    return ["a", "b"]


def pairs() -> list[tuple[int, str]]:
    return [(1, "a"), (2, "b")]


def scalar() -> int:
    return 3


def text() -> str:
    return "Zoë"


def nothing() -> None:
    return None


def maybe() -> int | None:
    return None


def either() -> int | str:
    return "seven"


def mapping() -> dict[str, int]:
    return {"a": 1}


def report() -> Report:
    return Report(title="All", made=datetime(2026, 1, 2), lines=[Line(text="a")])


def recursive() -> Line:
    return Line(text="a", next=Line(text="b"))


def total() -> Total:
    return {"total": 3}


def record() -> Record:
    return Record(1)


def point() -> Point:
    return Point(1)


def links() -> list[Link]:
    return [Link(url=AnyUrl("http://127.0.0.1/a"), seen={1})]


def anything() -> Any:
    return {"a": 1}


def unannotated():  # type: ignore[no-untyped-def]
    return ROWS


class Numbers(RootModel[list[int]]):
    """A model that is a list."""


def root() -> Numbers:
    return Numbers([1, 2])


def picture() -> Image:
    return Image(data=PNG, format="png")


def blocks() -> list[TextContent]:
    return [TextContent(type="text", text="a"), TextContent(type="text", text="b")]


def own_result() -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text="mine")], structured_content={"mine": 1})


FUNCTIONS = (
    rows, no_rows, models, texts, pairs, scalar, text, nothing, maybe, either, mapping, report, recursive, total,
    record, point, links, anything, unannotated, root, picture, blocks, own_result,
)  # fmt: skip
MANY_BLOCKS = {"rows", "models", "texts", "pairs", "unannotated"}
"""Of these the SDK makes a text block for each item."""


async def called(server: Any, function: str, **arguments: Any) -> tuple[Tool, CallToolResult]:
    async with Client(server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        return tools[function], await client.call_tool(function, arguments)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
async def test_a_plain_result_is_the_sdks(server: PlaneServer, function: Callable[..., Any]) -> None:
    name = function.__name__
    theirs = MCPServer("theirs", log_level="ERROR")
    theirs.tool()(function)
    server.resource_tool(function)
    listed, expected = await called(theirs, name)
    tool, found = await called(server.mcp, name)
    assert found.structured_content == expected.structured_content
    assert not found.is_error
    if name in MANY_BLOCKS:
        given = expected.structured_content or {"result": ROWS}
        assert json.loads(text_of(found)) == given["result"]
        assert len(found.content) == 1
    elif name == "links":
        assert json.loads(text_of(found))[0]["url"] == "http://127.0.0.1/a"
    elif name == "point":
        assert json.loads(text_of(found)) == {"x": 1}
    elif name != "no_rows":
        assert found.content == expected.content
    assert (tool.output_schema is None) == (listed.output_schema is None)
    if tool.output_schema is not None:
        schema = Draft202012Validator(tool.output_schema)
        schema.validate(found.structured_content)
        assert schema.is_valid({"resource_url": "http://127.0.0.1/x", "total_rows": 3, "columns": []})
        assert schema.is_valid({}) == (name == "mapping")


async def test_no_rows_are_an_empty_array(server: PlaneServer) -> None:
    server.resource_tool(no_rows)
    _, found = await called(server.mcp, "no_rows")
    assert (text_of(found), found.structured_content) == ("[]", {"result": []})


def frame() -> pl.DataFrame:
    return pl.DataFrame(ROWS)


def generator() -> Iterator[dict[str, Any]]:
    yield from ROWS


async def async_generator() -> AsyncIterator[dict[str, Any]]:
    for row in ROWS:
        yield row


def frame_as_rows() -> list[dict[str, Any]]:
    return pl.DataFrame(ROWS)  # type: ignore[return-value]  # the annotation says what a client gets


@pytest.mark.parametrize("function", [frame, generator, async_generator, frame_as_rows], ids=lambda each: each.__name__)
async def test_tables_and_iterators_are_lists_of_rows(server: PlaneServer, function: Callable[..., Any]) -> None:
    server.resource_tool(function)
    tool, found = await called(server.mcp, function.__name__)
    assert (json.loads(text_of(found)), found.structured_content) == (ROWS, {"result": ROWS})
    assert tool.output_schema is not None
    Draft202012Validator(tool.output_schema).validate(found.structured_content)


def numpy_scalar() -> int:
    return np.int64(3)  # type: ignore[return-value]


def numpy_array() -> np.ndarray[Any, Any]:
    return np.array([1, 2])


def raw_bytes() -> list[dict[str, Any]]:
    return [{"raw": b"\x00\xff", "n": float("nan")}]


@pytest.mark.parametrize(
    ("function", "structured"),
    [(numpy_scalar, 3), (numpy_array, [1, 2]), (raw_bytes, [{"raw": "AP8=", "n": None}])],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_values_that_the_sdk_cannot_serialize_have_the_json_of_the_plane(
    server: PlaneServer, function: Callable[..., Any], structured: Any
) -> None:
    server.resource_tool(function)
    _, found = await called(server.mcp, function.__name__)
    assert found.structured_content == {"result": structured}


def large_text() -> str:
    return "Zoë,1\r\n" * 100_000


def large_mapping() -> dict[str, int]:
    return {f"k{number}": number for number in range(40_000)}


def large_report() -> Report:
    lines = [Line(text=f"line {number}") for number in range(20_000)]
    return Report(title="All", made=datetime(2026, 1, 2), lines=lines)


def large_texts() -> list[str]:
    return [f"item {number}" for number in range(40_000)]


@pytest.mark.parametrize("function", [large_text, large_mapping, large_report], ids=lambda each: each.__name__)
async def test_a_large_value_is_published_as_what_it_is(server: PlaneServer, function: Callable[..., Any]) -> None:
    async with server.session():
        server.resource_tool(function)
        tool, found = await called(server.mcp, function.__name__)
        shape = shape_of(found)
        value = function()
        body = await (await server.plane()).pull(shape["resource_url"])
    assert isinstance(body, bytes)
    if function is large_text:
        assert (body.decode(), shape["media_type"]) == (value, "text/plain; charset=utf-8")
    else:
        fields = value if isinstance(value, dict) else value.model_dump(mode="json")
        assert (json.loads(body), shape["media_type"]) == (fields, "application/json")
    assert (shape["size"], shape["digest"]) == (len(body), f"sha256:{sha256(body).hexdigest()}")
    assert body.decode().startswith(shape["preview"]) and len(text_of(found)) < 1_200
    assert tool.output_schema is not None and found.structured_content is not None
    Draft202012Validator(tool.output_schema).validate(found.structured_content)
    # The report has a `size` of its own, which the structured content leaves to it.
    assert ("size" in found.structured_content) == (function is not large_report)


async def test_a_large_list_of_scalars_is_a_table(server: PlaneServer) -> None:
    async with server.session():
        server.resource_tool(large_texts)
        _, found = await called(server.mcp, "large_texts")
        shape = shape_of(found)
        assert (shape["total_rows"], shape["columns"]) == (40_000, ["value"])
        assert (await (await server.plane()).pull(shape["resource_url"]))[1] == {"value": "item 1"}


def envelope() -> dict[str, Any]:
    return {"rows": ROWS, "count": 3}


def csv() -> str:
    return "id,name\n0,row 0\n1,row 1\n2,row 2\n"


@pytest.mark.parametrize("function", [envelope, csv], ids=lambda each: each.__name__)
async def test_columns_of_a_table_within_a_value_can_be_requested(
    server: PlaneServer, function: Callable[..., Any]
) -> None:
    async with server.session():
        server.resource_tool(function)
        _, found = await called(server.mcp, function.__name__, abstract_domains="name")
        shape = shape_of(found)
        assert shape["abstract"] == [{"_row_id": number, "name": f"row {number}"} for number in range(3)]
        assert await (await server.plane()).pull(shape["resource_url"]) == ROWS
