"""The plane's own MCP tools: publish, preview, narrow, grant, revoke, list_bodies."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import Client

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import GrantRevokedError
from broker_plane.mcp_server.plane_tools import plane_server

pytestmark = pytest.mark.anyio
ROWS = [{"event": f"e{n}", "severity": n, "text": f"body {n}"} for n in range(10)]


async def test_an_agent_runs_a_transfer_with_the_tools_alone(settings: Settings) -> None:
    async with Client(plane_server(settings).mcp) as client, Plane.connect(settings) as plane:

        async def use(tool: str, **arguments: Any) -> dict[str, Any]:
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result.content
            return result.structured_content or {}

        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {"publish", "preview", "narrow", "grant", "revoke", "list_bodies"}
        published = await use("publish", rows=ROWS, uses=0, name="events")
        assert (published["total_rows"], published["columns"]) == (10, ["event", "severity", "text"])
        seen = await use("preview", resource_url=published["resource_url"], where="severity > 6", sample=1)
        assert (seen["count"], seen["sample"][0]["event"]) == (3, "e7")
        less = await use("narrow", resource_url=published["resource_url"], where="severity > 6", columns=["text"])
        assert await plane.pull(less["resource_url"]) == [{"text": f"body {n}"} for n in (7, 8, 9)]
        another = await use("grant", body_id=published["body_id"], first=2)
        assert len(await plane.pull(another["resource_url"])) == 2
        listed = await use("list_bodies")
        assert published["body_id"] in [body["body_id"] for body in listed["bodies"]]
        assert (await use("revoke", grant=published["resource_url"]))["revoked"]
        with pytest.raises(GrantRevokedError):
            await plane.pull(less["resource_url"])


async def test_what_is_wrong_is_said_to_the_model(settings: Settings) -> None:
    async with Client(plane_server(settings).mcp) as client:
        for tool, arguments in (
            ("narrow", {"resource_url": "nonsense"}),
            ("grant", {"body_id": "nonsense"}),
            ("preview", {"resource_url": "http://example.com/s2sp/data/x"}),
            ("revoke", {"grant": "nonsense"}),
        ):
            result = await client.call_tool(tool, arguments)
            assert result.is_error and result.content[0].type == "text" and "grant" in str(result.content) + tool
