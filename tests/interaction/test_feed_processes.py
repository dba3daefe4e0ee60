"""Feeds over MCP between processes: servers over stdio that share nothing but a broker, and a broker that is killed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from broker_plane.mcp_server.feed import feed_uri
from broker_plane.testing.server import NatsServer
from tests import forked
from tests.interaction.feed_server import FEED
from tests.interaction.test_feeds import ask, poll

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


def process(broker: NatsServer) -> Client:
    """A client of a server process of its own."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "BROKER_PLANE_NATS_URL": broker.url}
    forked.fork_server(forked.MCP)
    program, *arguments = forked.command("tests.interaction.feed_server")
    return Client(StdioServerParameters(command=program, args=arguments, env=environment))


def versions(page: dict[str, Any]) -> list[int]:
    return [event["data"]["version"] for event in page["events"]]


async def test_a_listener_hears_of_another_process_and_a_poll_after_a_restart_of_everything_misses_nothing(
    own_server: NatsServer,
) -> None:
    async with process(own_server) as publishing, process(own_server) as listening:
        begun = await ask(listening, poll())
        async with listening.listen(resource_subscriptions=[feed_uri(FEED)]) as heard:
            events = aiter(heard)
            await asyncio.wait_for(anext(events), 20)  # that it listens now, and may have missed something
            await publishing.call_tool("rename", {"name": "Ann"})
            event: Any = await asyncio.wait_for(anext(events), 20)
            assert event.uri == feed_uri(FEED)
        first = await ask(listening, poll(begun["cursor"]))
        assert versions(first) == [1]
        for name in ("Bob", "Cem"):
            await publishing.call_tool("rename", {"name": name})
    own_server.kill()
    own_server.start()
    async with process(own_server) as publishing, process(own_server) as asking:
        await publishing.call_tool("rename", {"name": "Dee"})
        page = await ask(asking, poll(first["cursor"]))
        assert (versions(page), page["truncated"]) == ([2, 3, 4], False)
