"""What a resource tool costs a model: its entry in `tools/list`, and its results."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult

from broker_plane import PlaneServer
from broker_plane.agent.transfers import advertised
from broker_plane.wire.capabilities import Capabilities
from tests.interaction.conftest import shape_of

pytestmark = pytest.mark.anyio

TOOL_BYTES, TOOL_AND_OUTPUT_BYTES = 450, 900
EXTENSION = "io.broker-plane/transfer"


def get_alerts(area: str) -> list[dict[str, Any]]:
    """All weather alerts of an area."""
    return [{"event": "Flood", "area": area, "severity": number % 4, "text": "Above its banks"} for number in range(20)]


def compact(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def size_of(result: CallToolResult) -> int:
    return compact(result.model_dump(mode="json", by_alias=True, exclude_none=True))


async def test_a_tool_of_one_parameter_is_short(server: PlaneServer) -> None:
    server.resource_tool(get_alerts)
    (tool,) = await server.mcp.list_tools()
    size = len(tool.name) + len(tool.description or "") + compact(tool.input_schema)
    assert size <= TOOL_BYTES
    assert size + compact(tool.output_schema) <= TOOL_AND_OUTPUT_BYTES


async def test_twenty_small_rows_are_no_larger_than_without_the_plane(server: PlaneServer) -> None:
    server.resource_tool(get_alerts)
    plain = MCPServer("plain", log_level="ERROR")
    plain.tool()(get_alerts)
    async with Client(plain) as client:
        without = size_of(await client.call_tool("get_alerts", {"area": "CA"}))
    async with server.session(), Client(server.mcp) as client:
        assert size_of(await client.call_tool("get_alerts", {"area": "CA"})) <= without
        asked = await client.call_tool("get_alerts", {"area": "CA", "abstract_domains": "event"})
    assert size_of(asked) <= without


async def test_the_descriptor_is_there_once(server: PlaneServer) -> None:
    server.resource_tool(get_alerts)
    declared = advertised(Capabilities(protocols=("http",)))
    for extensions in ([], [declared]):
        async with server.session(), Client(server.mcp, extensions=extensions) as client:
            result = await client.call_tool("get_alerts", {"area": "CA", "abstract_domains": "event"})
        fields = (result.meta or {})[EXTENSION]
        assert [block.meta for block in result.content] == [None, None]
        assert ("alternatives" in fields) == bool(extensions)
        assert list(shape_of(result)).index("resource_url") < list(shape_of(result)).index("abstract")
