"""The plane's own MCP tools, in process and as `broker-plane mcp`: an agent runs a transfer with them alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import GrantRevokedError
from broker_plane.mcp_server.plane_tools import plane_server
from tests.trusting import HOSTS

pytestmark = pytest.mark.anyio
ROWS = [{"event": f"e{n}", "severity": n, "text": f"body {n}"} for n in range(10)]
READING = {"read_body", "describe_body", "query_body"}
SESSIONS = {f"session_{verb}" for verb in ("create", "read", "propose", "note", "decide", "confirm")}
PROTOCOLS = {"protocol_search", "protocol_get", "protocol_compose"}
TOOLS = {
    "publish",
    "preview",
    "narrow",
    "grant",
    "revoke",
    "list_bodies",
    "watch",
    "search_agents",
    *READING,
    *SESSIONS,
    *PROTOCOLS,
}
ROOT = Path(__file__).resolve().parents[2]

Use = Callable[..., Awaitable[dict[str, Any]]]


def user_of(client: Client) -> Use:
    """`await use(tool, …)`: what the tool answers, which is no error."""

    async def use(tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        return result.structured_content or {}

    return use


async def test_an_agent_runs_a_transfer_with_the_command_over_standard_streams(settings: Settings) -> None:
    ours = {"BROKER_PLANE_NATS_URL": settings.nats_url, "BROKER_PLANE_DATA_DIR": str(settings.data_dir)}
    ours["BROKER_PLANE_TRUSTED_HOSTS"] = HOSTS  # each process has a bridge of its own, on a free port
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "broker_plane.cli.main", "mcp"],
        env=kept | ours | {"PYTHONPATH": str(ROOT)},
    )
    trusting = replace(settings, trusted_hosts=HOSTS)
    async with Client(command) as client, Plane.connect(trusting) as plane:
        use = user_of(client)
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
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
        await use("publish", rows=ROWS, feed="tools.command", key=["event"])
        watched = await use("watch", feed="tools.command")
        assert [notice["version"] for notice in watched["notices"]] == [1]
        assert len(await plane.pull(watched["notices"][0]["resource_url"])) == 10


async def test_watch_tells_each_version_once_and_waits_for_the_next(settings: Settings) -> None:
    feed = "tools.watched"
    async with Client(plane_server(settings).mcp) as client, Plane.connect(settings) as plane:
        use = user_of(client)
        before = await use("watch", feed=feed)
        assert (before["notices"], before["more"]) == ([], False)
        for version in range(1, 24):
            await plane.publish([{"id": version}], feed=feed, key="id")
        first = await use("watch", feed=feed, since=before["cursor"])
        rest = await use("watch", feed=feed, since=first["cursor"])
        assert (first["more"], rest["more"]) == (True, False)
        assert [notice["version"] for notice in first["notices"] + rest["notices"]] == list(range(1, 24))
        assert (await use("watch", feed=feed, since="last"))["cursor"] == rest["cursor"]
        assert await use("watch", feed=feed, since="new", wait_seconds=0.01) == {
            "notices": [],
            "cursor": rest["cursor"],
            "more": False,
        }
        waited: dict[str, Any] = {}

        async def wait() -> None:
            waited.update(await use("watch", feed=feed, since=rest["cursor"], wait_seconds=60))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await plane.publish([{"id": 24}], feed=feed, key="id")
        assert [notice["version"] for notice in waited["notices"]] == [24]
        assert await plane.pull(waited["notices"][0]["resource_url"]) == [{"id": 24}]


async def test_what_is_wrong_is_said_to_the_model(settings: Settings) -> None:
    async with Client(plane_server(settings).mcp) as client:
        for tool, arguments, said in (
            ("narrow", {"resource_url": "nonsense"}, "grant"),
            ("grant", {"body_id": "nonsense"}, ""),
            ("preview", {"resource_url": "http://example.com/s2sp/data/x"}, ""),
            ("revoke", {"grant": "nonsense"}, "grant"),
            ("watch", {"feed": "No Feed"}, "Invalid feed name"),
            ("watch", {"feed": "crm.contacts", "since": "yesterday"}, "cursor"),
        ):
            result = await client.call_tool(tool, arguments)
            assert result.is_error and result.content[0].type == "text" and said in result.content[0].text, tool
