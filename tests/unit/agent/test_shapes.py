"""A body is found in every shape that a framework gives it, and what has none is left alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from mcp.types import CallToolResult, ImageContent, TextContent

from broker_plane.agent.dispatcher import Dispatcher, parse_arguments
from broker_plane.agent.shapes import FoundBodies
from broker_plane.agent.transcript import text_of
from broker_plane.errors import AgentError
from tests.agents.lookalikes import LOOKALIKES, SPLIT

BODY = [{"_row_id": 0, "salary": "one hundred thousand"}]
SHAPE = {"total_rows": 1, "abstract": [{"_row_id": 0, "name": "Ann"}], "body": BODY}
TEXT = json.dumps(SHAPE)
IMAGE = ImageContent(type="image", data="aGk=", mime_type="image/png")


@dataclass
class Output:
    type: str
    text: str


SHAPES: dict[str, Any] = {
    "text": TEXT,
    "bytes": TEXT.encode(),
    "object": SHAPE,
    "MCP result": CallToolResult(content=[TextContent(type="text", text=TEXT), IMAGE], structured_content=SHAPE),
    "MCP result of a function that returns text": CallToolResult(
        content=[TextContent(type="text", text=TEXT)], structured_content={"result": TEXT}
    ),
    "Claude Agent SDK": {"content": [{"type": "text", "text": TEXT}], "is_error": False},
    "LangChain's content and artifact": (TEXT, {"structured_content": SHAPE}),
    "LangChain's content blocks": [{"type": "text", "text": TEXT, "id": "lc_1"}],
    "OpenAI Agents SDK": [Output("text", TEXT)],
    "text in text": json.dumps({"type": "text", "text": TEXT}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_body_goes_out_and_the_handle_goes_in(name: str) -> None:
    result = SHAPES[name]
    before = text_of(result)
    sighting = FoundBodies(result)
    assert sighting.bodies == [BODY]
    seen = sighting.without(["ddi://handle"])
    shown = text_of(seen)
    assert "hundred thousand" not in shown
    assert "Ann" in shown
    assert "ddi://handle" in shown
    assert type(seen) is (str if isinstance(result, bytes) else type(result))
    assert text_of(result) == before, "what was given in is not touched"


def test_other_blocks_stay() -> None:
    seen = FoundBodies(SHAPES["MCP result"]).without(["ddi://handle"])
    assert seen.content[1] == IMAGE
    assert seen.structured_content["resource_url"] == "ddi://handle"


@pytest.mark.parametrize(
    "result", [None, 3, "text", "{", [1, 2], {"abstract": []}, '{"body": 1}', '"body" and "abstract"', b"\xff"]
)
def test_what_has_no_body_is_the_same_object(result: Any) -> None:
    sighting = FoundBodies(result)
    assert sighting.bodies == []
    assert sighting.without([]) is result


def test_two_results_in_one_have_two_handles() -> None:
    other = SHAPE | {"body": [{"_row_id": 0, "salary": "nothing"}]}
    sighting = FoundBodies([TEXT, json.dumps(other)])
    assert len(sighting.bodies) == 2
    first, second = (json.loads(text) for text in sighting.without(["ddi://1", "ddi://2"]))
    assert (first["resource_url"], second["resource_url"]) == ("ddi://1", "ddi://2")


FORMS: dict[str, Any] = {
    "as it is": lambda value: value,
    "in MCP's result": lambda value: CallToolResult(
        content=[TextContent(type="text", text=value if isinstance(value, str) else json.dumps(value))],
        structured_content={"result": value},
    ),
    "with an artifact": lambda value: (json.dumps(value), value),
    "in an output": lambda value: [Output("text", json.dumps(value))],
    "in bytes": lambda value: json.dumps(value).encode(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LOOKALIKES)
async def test_what_only_looks_like_a_body_stays(name: str, form: str) -> None:
    result = FORMS[form](LOOKALIKES[name])
    dispatcher = Dispatcher()
    assert await dispatcher.result("get", result) is result
    assert dispatcher.result_now("get", result) is result


@pytest.mark.anyio
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SPLIT)
async def test_a_table_that_was_split_is_known_in_every_form(name: str, form: str) -> None:
    dispatcher = Dispatcher()
    seen = text_of(await dispatcher.result("get", FORMS[form](SPLIT[name])))
    assert "ddi://" in seen
    assert not any(str(row["text"]) in seen for row in SPLIT[name]["body"] if len(str(row["text"])) > 4)
    handle = "ddi://" + seen.partition("ddi://")[2][:22]
    call = await dispatcher.call("draw", {"resource_url": handle})
    assert json.loads(call.arguments["body_data"]) == SPLIT[name]["body"], "exactly as the tool gave it"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "slip",
    ["{}", " {}\n", '"{}"', "`{}`", "<{}>", "[data]({})", "{}.", "**{}**", '"\\"{}\\""', '{{"resource_url": "{}"}}'],
)
async def test_a_handle_is_found_in_what_stands_around_it(slip: str) -> None:
    for name in ("resource_url", "body_data"):
        dispatcher = Dispatcher()
        seen = await dispatcher.result("get", SHAPE)
        call = await dispatcher.call("draw", {name: slip.format(seen["resource_url"])})
        assert json.loads(call.arguments["body_data"]) == BODY
        assert call.arguments["resource_url"] == ""


@pytest.mark.parametrize(
    "text",
    ['{"a": [1]}', '"{\\"a\\": [1]}"', '```json\n{"a": [1]}\n```', "{'a': [1]}", '{"a": [1],}', '\ufeff{"a": [1]}'],
)
def test_arguments_are_read_as_models_write_them(text: str) -> None:
    assert parse_arguments(text) == {"a": [1]}


@pytest.mark.parametrize("text", ["", " ", "null", "None", "{}"])
def test_no_arguments_are_none(text: str) -> None:
    assert parse_arguments(text) == {}


@pytest.mark.parametrize("text", ["[1]", "7", '"words"', "{", "a=1"])
def test_other_arguments_are_explained(text: str) -> None:
    with pytest.raises(AgentError, match="JSON object"):
        parse_arguments(text)
