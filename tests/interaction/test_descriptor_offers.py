"""A tool offers data by descriptors of its own: which client gets which, and what comes to one that can take none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import pytest
from mcp import Client
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult

from broker_plane import PlaneServer, parse_descriptor
from broker_plane.agent.transfers import advertised, alternatives_of, confirm, descriptor_of, raw_of, transfers, unable
from broker_plane.config import Settings
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.descriptor import TOMCP, Descriptor

pytestmark = pytest.mark.anyio
BODY = bytes(range(256)) * 8
GUIDE = "GET page after page, until one is empty."
ITS_PARSER = json.loads((Path(__file__).parents[1] / "interop/tomcp.schema.json").read_text())
LEARNS = Capabilities(protocols=("https",), level2=True, runtimes=("python",))


def described(protocol: str = "acme-export", runtime: str = "python", **fields: Any) -> Descriptor:
    """A Level 2 descriptor of a service with a protocol of its own."""
    return parse_descriptor(
        {
            "$schema": "mcp/transfer-descriptor/v1",
            "transfer_id": str(uuid4()),
            "mode": "fetch",
            "protocol": protocol,
            "endpoint": "https://data.example/export?sig=s3cret",
            "format": "application/octet-stream",
            "size_hint": len(BODY),
            "description": {
                "tier": "high",
                "text": GUIDE,
                "examples": ["?page=2"],
            },
            "sandbox": {"runtime": runtime, "allowed_hosts": ["data.example"], "allowed_ports": [443]},
        }
        | fields
    )


NATIVE = parse_descriptor(
    {name: value for name, value in described("https").to_wire().items() if name not in ("description", "sandbox")}
)


@pytest.fixture
def server(settings: Settings) -> PlaneServer:
    server = PlaneServer("test", settings=settings)

    async def data() -> bytes:
        return BODY

    @server.mcp.tool()
    async def export(ctx: Context[Any, Any], inline: bool = False) -> CallToolResult:
        given = data if inline else None
        result: CallToolResult = await server.offer(ctx, described(), text="42 readings", inline=given)
        return result

    @server.mcp.tool()
    async def either(ctx: Context[Any, Any]) -> CallToolResult:
        result: CallToolResult = await server.offer(ctx, described(), NATIVE)
        return result

    @server.mcp.tool()
    async def registered(ctx: Context[Any, Any]) -> CallToolResult:
        plane = await server.plane()
        descriptor = await plane.protocols.descriptor("builtin/csv-download", endpoint="https://data.example/v1")
        result: CallToolResult = await server.offer(ctx, descriptor)
        return result

    @server.mcp.tool()
    async def for_node(ctx: Context[Any, Any]) -> CallToolResult:
        result: CallToolResult = await server.offer(ctx, described(runtime="node"))
        return result

    return server


@asynccontextmanager
async def client(server: PlaneServer, *extensions: Any, mode: Any = "auto") -> AsyncIterator[Client]:
    async with Client(server.mcp, extensions=list(extensions), mode=mode) as opened:
        yield opened


def text_of(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content if block.type == "text")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_learns_gets_the_description_and_the_sandbox(server: PlaneServer, mode: str) -> None:
    async with client(server, advertised(LEARNS), mode=mode) as asking:
        result = await asking.call_tool("export", {})
        found = descriptor_of(result)
    assert found is not None and found.description is not None and found.sandbox is not None
    assert (found.description.text, found.sandbox.allowed_ports) == (GUIDE, (443,))
    assert "42 readings" in text_of(result)
    assert "s3cret" not in text_of(result) + json.dumps(result.structured_content)  # what a model is shown


async def test_a_claimed_result_is_carried_out(server: PlaneServer) -> None:
    seen: list[Descriptor] = []

    async def resolve(descriptor: Descriptor) -> CallToolResult | None:
        seen.append(descriptor)
        return None

    async with client(server, transfers(LEARNS, resolve)) as asking:
        await asking.call_tool("export", {})
    assert [each.protocol for each in seen] == ["acme-export"]


@pytest.mark.parametrize(
    ("tool", "capabilities", "why"),
    [
        pytest.param("export", None, "declares no capabilities", id="declares nothing"),
        pytest.param("export", Capabilities(protocols=("https",)), "nothing to offer", id="does not learn"),
        pytest.param("for_node", LEARNS, "does not support acme-export", id="has another runtime"),
    ],
)
async def test_a_client_that_can_take_none_is_told_why(
    server: PlaneServer, tool: str, capabilities: Capabilities | None, why: str
) -> None:
    async with client(server, *([] if capabilities is None else [advertised(capabilities)])) as asking:
        result = await asking.call_tool(tool, {})
    assert result.is_error
    assert why in text_of(result)
    assert descriptor_of(result) is None


@pytest.mark.parametrize("capabilities", [None, Capabilities(protocols=("http",))])
async def test_the_data_becomes_a_body_for_a_client_that_can_take_none(
    server: PlaneServer, capabilities: Capabilities | None
) -> None:
    async with client(server, *([] if capabilities is None else [advertised(capabilities)])) as asking:
        result = await asking.call_tool("export", {"inline": True})
        assert result.structured_content["size"] == len(BODY)
        found = descriptor_of(result)
        assert found is not None and found.protocol == "http" and found.description is None
        assert raw_of(await unable(asking, found)) == BODY


async def test_a_description_of_the_registry_is_offered(server: PlaneServer) -> None:
    async with client(server, advertised(LEARNS)) as asking:
        result = await asking.call_tool("registered", {})
        fields = (result.meta or {})["io.broker-plane/transfer"]
    found = parse_descriptor(fields)
    assert found.description is not None and found.sandbox is not None
    assert found.sandbox.allowed_hosts == ("data.example",)
    jsonschema.validate(found.to_wire(TOMCP), ITS_PARSER)


async def test_level_1_comes_before_level_2(server: PlaneServer) -> None:
    async with client(server, advertised(LEARNS)) as asking:
        found = descriptor_of(await asking.call_tool("either", {}))
    assert found is not None and found.protocol == "https"
    assert [each.protocol for each in alternatives_of(found)] == ["acme-export"]


async def test_an_alternative_for_generated_code_is_shown_to_nobody_else(server: PlaneServer) -> None:
    async with client(server, advertised(Capabilities(protocols=("https",)))) as asking:
        found = descriptor_of(await asking.call_tool("either", {}))
    assert found is not None and alternatives_of(found) == []


async def test_a_transfer_is_confirmed_or_comes_inline(server: PlaneServer) -> None:
    async with client(server, advertised(LEARNS)) as asking:
        found = descriptor_of(await asking.call_tool("export", {"inline": True}))
        assert found is not None and found.fallback == "inline"
        assert await confirm(asking, found, "failure", error="the disk is full") == "released"
        assert await confirm(asking, found) == "confirmed"
        assert await confirm(asking, found) == "settled"
        assert raw_of(await unable(asking, found)) == BODY
        bare = descriptor_of(await asking.call_tool("export", {}))
        assert bare is not None and bare.fallback == "error"
        with pytest.raises(Exception, match="does not come inline"):
            await unable(asking, bare, "sandbox_error")
        with pytest.raises(Exception, match="does not name a transfer"):
            await unable(asking, described())


async def test_tomcp_s_parser_takes_what_it_is_offered(server: PlaneServer) -> None:
    theirs = Capabilities(protocols=("https",), level2=True, runtimes=("node", "python"), schema_=TOMCP)
    async with client(server, advertised(theirs)) as asking:
        for tool in ("export", "for_node"):
            result = await asking.call_tool(tool, {})
            fields = (result.meta or {})["io.broker-plane/transfer"]
            jsonschema.validate(fields, ITS_PARSER)
            assert fields["$schema"] == TOMCP
            assert parse_descriptor(fields).description == described().description
