"""Transfers on nats.conf: a guest reads a live stream with the grant alone, and a resource server gives inline."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from mcp import Client

from broker_plane import Plane, PlaneServer
from broker_plane.agent.transfers import advertised, confirm, descriptor_of, unable
from broker_plane.config import Settings
from broker_plane.wire.capabilities import Capabilities
from tests.boundary.conftest import Admit
from tests.deploy.running import Running

pytestmark = pytest.mark.anyio
ROWS = [{"n": number} for number in range(30)]


async def test_a_guest_follows_a_stream_with_the_grant_alone(plane: Plane, broker: Running, admit: Admit) -> None:
    async with plane.streams.publish(buffer_size=5) as stream:
        assert [each.protocol for each in stream.offer().descriptors] == ["ws", "sse", "nats"]

        async def publish() -> None:
            for row in ROWS:
                await stream.send(row)
            await stream.end()

        publishing = asyncio.create_task(publish())
        async with Plane.guest(f"{broker.scheme}://{broker.address}") as guest:
            async with aclosing(guest.pulls.follow(stream.grant)) as items:
                first = [await anext(items) for _ in range(7)]
            last = first[-1][0]
            rest = [item async for item in guest.pulls.follow(stream.grant, last)]
        assert first + rest == list(enumerate(ROWS, 1))
        await publishing
        stranger = await admit(stream.grant)
        for subject in (f"bp.live.{stream.live.id}", f"$JS.API.DIRECT.GET.BP_LIVE_{stream.live.id}"):
            assert await stranger.publish(subject), subject


async def test_a_resource_server_gives_inline_and_is_confirmed(weather_settings: Settings) -> None:
    server = PlaneServer("weather", settings=weather_settings)

    @server.resource_tool(uses=2)
    def table() -> list[dict[str, Any]]:
        return ROWS

    async with Client(server.mcp, extensions=[advertised(Capabilities(protocols=("carrier-pigeon",)))]) as asking:
        descriptor = descriptor_of(await asking.call_tool("table", {"abstract_domains": "n"}))
        assert descriptor is not None
        for _ in range(2):
            block = (await unable(asking, descriptor)).content[0]
            assert block.type == "text"
            assert json.loads(block.text) == ROWS
        assert await confirm(asking, descriptor) in ("confirmed", "settled")
