"""The rules of the proxy as tables: a message in, what becomes of it. No process and no broker takes part."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.errors import BrokerUnavailableError
from broker_plane.proxy.rules import ProxyRules
from broker_plane.proxy.tool_listing import Consumer
from broker_plane.reading.clients import Threshold
from broker_plane.wire.names import EXTENSION

pytestmark = pytest.mark.anyio
TOKENS = 50
"""200 bytes."""
ROWS = [{"n": number, "text": "x" * 20} for number in range(20)]
TABLE = {"type": "array", "items": {"type": "object"}}
TOOLS = [
    {
        "name": "table",
        "inputSchema": {"type": "object"},
        "outputSchema": {"type": "object", "properties": {"rows": TABLE}},
    },
    {"name": "plain", "inputSchema": {"type": "object"}},
    {"name": "draw", "inputSchema": {"type": "object", "properties": {"data": {"type": "array"}}}},
    {"name": "ours", "inputSchema": {"type": "object", "properties": {"abstract_domains": {"type": "string"}}}},
]


async def no_plane() -> Plane:
    raise BrokerUnavailableError("There is no broker in this test")


async def list_tools(params: dict[str, Any]) -> Any:
    return {"tools": TOOLS}


async def known_rules(tokens: int = TOKENS) -> ProxyRules:
    rules = ProxyRules(no_plane, Threshold(tokens), {"draw": Consumer("draw", "data")})
    pending = rules.pending(call("table"))
    assert pending is not None
    await rules.ensure_listed(pending, list_tools)
    return rules


def call(name: Any, arguments: Any = None, **meta: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments} | ({"_meta": meta} if meta else {})
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def answer(result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": result}


PENDING = [
    pytest.param({"method": "ping"}, None, id="another method"),
    pytest.param({"method": "tools/list", "params": {}}, ("tools/list", "", "", "async", True), id="first page"),
    pytest.param(
        {"method": "tools/list", "params": {"cursor": "2"}}, ("tools/list", "", "", "async", False), id="later page"
    ),
    pytest.param(call("plain"), ("tools/call", "plain", "", "async", True), id="a call"),
    pytest.param(
        call("table", {"abstract_domains": "n", "mode": "sync"}),
        ("tools/call", "table", "n", "sync", True),
        id="columns",
    ),
    pytest.param(
        call("table", {"abstract_domains": ["n"]}),
        ("tools/call", "table", '["n"]', "async", True),
        id="columns as array",
    ),
    pytest.param(
        call("ours", {"abstract_domains": "n"}), ("tools/call", "ours", "", "async", True), id="a tool of ours"
    ),
    pytest.param(
        call(7, {"abstract_domains": "n"}), ("tools/call", "", "n", "async", True), id="a name that is no text"
    ),
    pytest.param(call("table", [1]), ("tools/call", "table", "", "async", True), id="arguments that are no object"),
]


@pytest.mark.parametrize(("message", "expected"), PENDING)
async def test_what_is_remembered_of_a_request(message: dict[str, Any], expected: Any) -> None:
    rules = await known_rules()
    found = rules.pending(message)
    assert (found and (found.method, found.tool, found.domains, found.mode, found.first)) == expected


REQUESTS = [
    pytest.param(call("plain", {"a": 1}), None, id="passes"),
    pytest.param(call("table", {"a": 1}), None, id="a table without our arguments passes"),
    pytest.param(call("table", {"a": 1, "abstract_domains": "n"}), {"a": 1}, id="abstract_domains is removed"),
    pytest.param(call("table", {"mode": "sync", "a": 1}), {"a": 1}, id="mode of a table is removed"),
    pytest.param(call("plain", {"mode": "sync"}), None, id="mode of another tool is its own"),
    pytest.param(call("ours", {"abstract_domains": "n"}), None, id="a tool of ours is left alone"),
    pytest.param(call("draw", {"resource_url": "", "data": [1]}), {"data": [1]}, id="an empty resource_url is removed"),
    pytest.param(call("unknown", {"abstract_domains": "n"}), {}, id="a tool that no list has"),
]


@pytest.mark.parametrize(("message", "arguments"), REQUESTS)
async def test_the_request_for_the_upstream(message: dict[str, Any], arguments: Any) -> None:
    rules = await known_rules()
    assert rules.may_rewrite(message) is (arguments is not None)
    made = await rules.rewritten_request(message, list_tools)
    assert made["params"]["arguments"] == (message["params"]["arguments"] if arguments is None else arguments)


OURS = {"resource_url": "http://127.0.0.1/s2sp/data/x"}
ANSWERS = [
    pytest.param("plain", {"content": [{"type": "text", "text": "short"}]}, False, id="small"),
    pytest.param("plain", {"content": [{"type": "text", "text": "x" * 1000}]}, True, id="a large text"),
    pytest.param("table", {"content": [], "structuredContent": {"rows": ROWS}}, True, id="a large table"),
    pytest.param("ours", {"content": [], "structuredContent": {"rows": ROWS}}, False, id="a tool of ours"),
    pytest.param("plain", {"content": [{"type": "text", "text": "x" * 1000}], "isError": True}, False, id="an error"),
    pytest.param("plain", {"content": "x" * 1000}, False, id="malformed content"),
    pytest.param("plain", {"content": [{"type": "image", "data": "x" * 1000}]}, False, id="a large image"),
    pytest.param("plain", {"content": [], "structuredContent": OURS | {"x": "y" * 1000}}, False, id="already an offer"),
    pytest.param("plain", {"content": [], "_meta": {EXTENSION: {}}, "x": "y" * 1000}, False, id="a descriptor"),
    pytest.param("plain", "x" * 1000, False, id="a result that is no object"),
]


@pytest.mark.parametrize(("tool", "result", "rewritten"), ANSWERS)
async def test_which_answers_are_rewritten(tool: str, result: Any, rewritten: bool) -> None:
    rules = await known_rules()
    pending = rules.pending(call(tool))
    assert pending is not None
    assert rules.rewrites(pending, answer(result), 1000) is rewritten


async def test_without_a_broker_a_large_answer_passes_unchanged() -> None:
    rules = await known_rules()
    pending = rules.pending(call("table"))
    assert pending is not None
    found = answer({"content": [], "structuredContent": {"rows": ROWS}})
    assert await rules.answer_for_client(pending, found, 1000, list_tools) is found


async def test_a_wrong_column_is_an_error_of_the_tool() -> None:
    rules = await known_rules()
    pending = rules.pending(call("table", {"abstract_domains": "nothing"}))
    assert pending is not None
    found = answer({"content": [], "structuredContent": {"rows": ROWS}})
    made = await rules.answer_for_client(pending, found, 1000, list_tools)
    assert made["result"]["isError"]
    assert "nothing" in made["result"]["content"][0]["text"]


async def test_sync_mode_below_the_threshold_needs_no_broker() -> None:
    rules = await known_rules(1_000)
    pending = rules.pending(call("table", {"abstract_domains": "n", "mode": "sync"}))
    assert pending is not None
    found = answer({"content": [], "structuredContent": {"rows": ROWS}, "_meta": {"kept": 1}})
    made = (await rules.answer_for_client(pending, found, 1000, list_tools))["result"]
    shown = made["structuredContent"]
    assert (shown["abstract_domains"], shown["body_domains"], shown["total_rows"]) == (["n"], ["text"], len(ROWS))
    assert shown["abstract"][3] == {"_row_id": 3, "n": 3}
    assert shown["body"][3] == {"_row_id": 3, "text": "x" * 20}
    assert made["_meta"] == {"kept": 1, "fastmcp": {"wrap_result": True}}


async def test_a_tool_that_returned_a_table_is_known_as_one() -> None:
    rules = await known_rules()
    pending = rules.pending(call("plain"))
    assert pending is not None
    found = answer({"content": [{"type": "text", "text": '[{"a": 1}]'}]})
    assert rules.learn_table(pending, found)
    assert not rules.learn_table(pending, found)
    assert "plain" in rules.tools.tables
