"""Every large result is held back, in any form that a framework gives it; what is small passes as the same object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from mcp.types import CallToolResult, ImageContent, TextContent
from pydantic import BaseModel

from broker_plane.agent.buffer import Buffer
from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.reading_tools import AgentTool, agent_tools
from broker_plane.errors import BufferFullError, ConfigError, LeakError, StaleHandleError

pytestmark = pytest.mark.anyio

ROWS = [{"name": f"Person {n}", "salary": 51_000_000 + n, "note": f"secret number {n} " * 20} for n in range(800)]
TABLE = json.dumps(ROWS)
CSV = "id,note\n" + "".join(f"{n},secret number {n}\n" for n in range(16_000))
LOG = "".join(f"2026-11-26 line {n}: secret number {n} of the log\n" for n in range(8_000))
DEEP = json.dumps({"tree": {"left": [[n, [n]] for n in range(16_000)], "right": ["secret", ["secret"] * 2400]}})
IMAGE = ImageContent(type="image", data="aGk=", mime_type="image/png")


class Report(BaseModel):
    title: str
    text: str


@dataclass
class Page:
    items: list[dict[str, Any]]


@dataclass
class Part:
    type: str
    text: str


LARGE: dict[str, Any] = {
    "text": TABLE,
    "bytes": TABLE.encode(),
    "rows": ROWS,
    "rows in an object": {"data": {"items": ROWS}, "next": 7},
    "MCP result": CallToolResult(content=[TextContent(type="text", text=TABLE), IMAGE]),
    "MCP result with structured content": CallToolResult(
        content=[TextContent(type="text", text=TABLE)], structured_content={"result": ROWS}
    ),
    "Claude Agent SDK": {"content": [{"type": "text", "text": LOG}], "is_error": False},
    "content blocks": [{"type": "text", "text": LOG, "id": "lc_1"}, {"type": "image", "data": "aGk="}],
    "one block": {"type": "text", "text": LOG},
    "a model": Report(title="t", text=LOG),
    "a dataclass": Page(ROWS),
    "a tuple": (LOG, "b"),
    "CSV": CSV,
    "log": LOG,
    "JSON": DEEP,
    "another object": type("Shown", (), {"__str__": lambda self: LOG})(),
}


def shown(result: Any) -> str:
    """Everything that a model could read of a result."""
    return result.model_dump_json() if isinstance(result, BaseModel) else str(result)


@pytest.mark.parametrize("name", LARGE)
async def test_a_large_result_is_held_back(name: str) -> None:
    dispatcher = Dispatcher()
    seen = await dispatcher.result("get", LARGE[name])
    assert len(shown(seen)) < 8_000
    assert "ddi://held/" in shown(seen)
    assert "resource_url to a tool that takes it" in shown(seen)
    assert dispatcher.transcript.tokens < 2_000
    dispatcher.transcript.assert_no_body_leaked(ROWS[10:-10], ["name"])
    assert type(dispatcher.result_now("get", LARGE[name])) is type(seen)


@pytest.mark.parametrize("name", LARGE)
async def test_below_the_threshold_the_same_object_passes(name: str) -> None:
    dispatcher = Dispatcher(threshold=10_000_000)
    assert await dispatcher.result("get", LARGE[name]) is LARGE[name]


async def test_blocks_other_than_text_and_the_type_of_a_result_are_kept() -> None:
    seen = await Dispatcher().result("get", LARGE["MCP result with structured content"])
    assert isinstance(seen, CallToolResult)
    assert json.loads(seen.content[0].text) == seen.structured_content  # type: ignore[union-attr]
    seen = await Dispatcher().result("get", LARGE["MCP result"])
    assert seen.structured_content is None
    assert [block.type for block in seen.content] == ["text", "image"]


async def test_a_planted_leak_is_found() -> None:
    """A tool that was not wrapped, or a threshold that is too high."""
    dispatcher = Dispatcher(threshold=10_000_000)
    await dispatcher.result("get", TABLE)
    with pytest.raises(LeakError, match="shows column 'note'"):
        dispatcher.transcript.assert_no_body_leaked(ROWS, ["name", "salary"])


@pytest.mark.parametrize(
    ("result", "shape", "media_type", "begins"),
    [
        (TABLE, "rows", None, "800 rows of 3 columns. Hand resource_url"),
        (CSV, "csv", "text/csv", "16,000 rows of 2 columns. "),
        (LOG, "text", "text/plain", "A text of 8,000 lines, "),
        (DEEP, "json", "application/json", "JSON of "),
    ],
)
async def test_the_result_says_what_it_is(result: str, shape: str, media_type: str | None, begins: str) -> None:
    said = json.loads(await Dispatcher().result("get", result))
    assert said["shape"] == shape
    assert said["next_step"].startswith(begins)
    assert (said.get("media_type") or "").startswith(media_type or "")


async def test_the_user_says_what_a_tool_returns() -> None:
    dispatcher = Dispatcher(shapes={"get": "text", "log": "csv"})
    assert json.loads(await dispatcher.result("get", CSV))["shape"] == "text"
    assert json.loads(await dispatcher.result("other", CSV))["shape"] == "csv"
    assert json.loads(await dispatcher.result("log", DEEP))["shape"] == "json"  # which it is not
    with pytest.raises(ConfigError, match="no shape 'sheet'"):
        Dispatcher(shapes={"get": "sheet"})


async def test_a_consumer_gets_the_rows_or_the_exact_text_any_number_of_times() -> None:
    dispatcher = Dispatcher()
    table = json.loads(await dispatcher.result("get", TABLE))["resource_url"]
    text = json.loads(await dispatcher.result("get", LOG))["resource_url"]
    for _ in range(2):
        call = await dispatcher.call("draw", {"resource_url": table, "title": "t"})
        assert json.loads(call.arguments["body_data"]) == [{"_row_id": n, **row} for n, row in enumerate(ROWS)]
        assert (call.arguments["resource_url"], call.arguments["title"]) == ("", "t")
        call = await dispatcher.call("count", {"body_data": f"`{text}`"})
        assert call.arguments["body_data"] == LOG
    call = await dispatcher.call("plain", {"data": table, "log": text, "other": f"see {text}"})
    assert call.arguments == {"data": TABLE, "log": LOG, "other": f"see {text}"}
    await dispatcher.undo(call)
    assert len(dispatcher.bodies) == 2  # type: ignore[arg-type]
    with pytest.raises(StaleHandleError):
        await dispatcher.call("plain", {"data": "ddi://held/unknown"})


async def test_what_is_held_survives_a_checkpoint() -> None:
    dispatcher = Dispatcher()
    handle = json.loads(await dispatcher.result("get", CSV))["resource_url"]
    restored = Buffer()
    restored.restore(json.loads(json.dumps(dispatcher.bodies.snapshot())))  # type: ignore[attr-defined]
    for _ in range(2):
        assert (await Dispatcher(restored).call("plain", {"data": handle})).arguments["data"] == CSV


async def test_what_a_resource_tool_offers_and_errors_pass() -> None:
    abstract = [{"_row_id": n, "name": "n" * 40} for n in range(2000)]
    offer = {"abstract": abstract, "resource_url": "http://127.0.0.1/d/x", "columns": ["name"]}
    dispatcher = Dispatcher()
    for passing in (offer, json.dumps(offer), {"content": [{"type": "text", "text": LOG}], "is_error": True}, 7, None):
        assert await dispatcher.result("get", passing) is passing
    hidden = {"rows": ROWS, "resource_url": "http://127.0.0.1/d/x"}
    assert "secret number 7" not in await dispatcher.result("get", hidden)
    hidden = {**offer, "more": TABLE}
    assert "secret number 700" not in await dispatcher.result("get", hidden)


async def test_a_result_that_cannot_be_stored_is_not_lost() -> None:
    dispatcher = Dispatcher(Buffer(max_bytes=1000))
    assert await dispatcher.result("get", LOG) is LOG
    assert dispatcher.result_now("get", LOG) is LOG
    with pytest.raises(BufferFullError):
        await dispatcher.result("get", {"abstract": [], "body": [{"_row_id": 0, "note": LOG}]})


@pytest.mark.parametrize(("client", "held"), [("claude-code", False), ("Visual Studio Code", True), ("", True)])
async def test_the_threshold_is_what_the_client_itself_shows(client: str, held: bool) -> None:
    text = "x" * 45_000
    assert (await Dispatcher(client=client).result("get", text) is not text) == held


async def test_the_reading_tools_read_what_is_in_memory() -> None:
    dispatcher = Dispatcher()
    tools = {each.name: each for each in agent_tools(dispatcher)}
    assert set(tools) == {"read_body", "describe_body"}  # SQL needs the plane
    said = json.loads(await dispatcher.result("get", TABLE))
    assert "read_body(resource_url, where=…)" in said["next_step"] and "query_body" not in said["next_step"]
    table = said["resource_url"]
    assert await asked(tools["read_body"], resource_url=table, where="salary < 51000002", columns="name") == (
        "_row_id,name\n0,Person 0\n1,Person 1\n[2 rows of 2, from number 0]"
    )
    assert "799,Person 799" in await asked(tools["read_body"], resource_url=table, tail=1)
    assert "7,Person 7," in await asked(tools["read_body"], resource_url=table, rows="7")
    assert "salary: int; nulls 0, distinct 800" in await asked(tools["describe_body"], resource_url=table)
    log = json.loads(await dispatcher.result("get", LOG))["resource_url"]
    assert "7999:2026-11-26 line 7998" in await asked(tools["read_body"], resource_url=log, grep="line 7998:")
    assert "lines 8000" in await asked(tools["describe_body"], resource_url=log)
    deep = json.loads(await dispatcher.result("get", DEEP))["resource_url"]
    assert (await asked(tools["read_body"], resource_url=deep, json_path="$.tree.right[0]")).startswith('"secret"')
    gone = await tools["read_body"].call({"resource_url": "ddi://held/gone"})
    assert gone.is_error and "no longer valid" in gone.text
    away = await tools["read_body"].call({"resource_url": "http://127.0.0.1/d/x"})
    assert away.is_error and "ddi:// handles only" in away.text


async def test_rows_of_sync_mode_are_read_by_their_ids_and_stay() -> None:
    dispatcher = Dispatcher()
    read = agent_tools(dispatcher)[0]
    body = [{"_row_id": n, "note": f"note {n}"} for n in (9, 4, 2)]
    seen = await dispatcher.result("get", {"abstract": [{"_row_id": 4}], "body": body})
    assert await asked(read, resource_url=seen["resource_url"], rows="3-9") == (
        "_row_id,note\n4,note 4\n9,note 9\n[2 rows of 3, from number 4]"
    )
    assert len(dispatcher.bodies) == 1  # type: ignore[arg-type]


async def test_a_reading_passes_through_the_dispatcher_whole() -> None:
    dispatcher = Dispatcher(threshold=100)
    read = agent_tools(dispatcher, taken={"read_body"})[0]
    assert read.name == "plane_read_body"
    handle = json.loads(await dispatcher.result("get", LOG))["resource_url"]
    found = await dispatcher.around("mcp__reading__plane_read_body", {"resource_url": handle}, read.call)
    assert len(found.text) > 2000 and found.text.startswith("2026-11-26 line 0")


async def asked(tool: AgentTool, **arguments: Any) -> str:
    answer = await tool.call(arguments)
    assert not answer.is_error, answer.text
    return answer.text
