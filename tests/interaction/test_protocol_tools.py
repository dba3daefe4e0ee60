"""The tools of the registry, called as an MCP client calls them."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from mcp import Client

from broker_plane.config import Settings, load_settings
from broker_plane.mcp_server.plane_tools import plane_server
from broker_plane.wire.descriptor import parse_descriptor

pytestmark = pytest.mark.anyio


async def used(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    content: dict[str, Any] | None = result.structured_content
    assert content is not None
    return content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.content[0].type == "text"
    return result.content[0].text


async def test_a_model_finds_reads_and_composes(settings: Settings) -> None:
    async with Client(plane_server(settings).mcp) as client:
        found = await used(client, "protocol_search", query="page through an API with offset and limit", limit=3)
        assert "builtin/http-offset-paginated" in [each["id"] for each in found["protocols"]]
        read = await used(client, "protocol_get", protocol="http-offset-paginated", tier="full")
        assert (read["tier"], read["mode"]) == ("full", "fetch")
        assert read["text"].startswith("The endpoint is a collection.")
        assert read["parameters"]["page_size"]["default"] == 100
        parts = ["oauth2-bearer", "http-offset-paginated", "csv-download"]
        composed = await used(client, "protocol_compose", protocols=parts)
        assert composed["provides"]["encoding"] == "csv"
        made = await used(client, "protocol_compose", protocols=parts, endpoint="https://a.example/x")
        assert parse_descriptor(made["descriptor"]).format == "text/csv"
        assert "http-paginated" in await refused(
            client, "protocol_compose", protocols=["http-paginated", "http-offset-paginated"]
        )
        assert "built in" in await refused(client, "protocol_get", protocol="nothing")
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert not tools & {"protocol_publish", "protocol_unpublish"}


async def test_a_model_publishes_only_where_the_operator_permits_it(settings: Settings) -> None:
    owner = f"o{secrets.token_hex(4)}"
    own = load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, owner=owner)
    description = {"id": f"{owner}/frames", "version": "1.0.0", "title": "Frames", "tiers": {"high": "Four bytes."}}
    async with Client(plane_server(own, publish_protocols=True).mcp) as client:
        assert (await used(client, "protocol_publish", description=description))["id"] == f"{owner}/frames"
        assert "not newer" in await refused(client, "protocol_publish", description=description | {"version": "0.9.0"})
        assert "belongs to" in await refused(client, "protocol_publish", description=description | {"id": "x/frames"})
        assert (await used(client, "protocol_get", protocol=f"{owner}/frames"))["text"] == "Four bytes."
        await used(client, "protocol_unpublish", protocol=f"{owner}/frames", version="1.0.0", reason="old")
        assert "yanked" in await refused(client, "protocol_get", protocol=f"{owner}/frames")
