"""Readers that take a large body slowly: the bridge's memory stays bounded, and they are not cut off."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import anyio
import pytest

from broker_plane.bridge.app import bridge_app
from broker_plane.bridge.protocol import Limits
from broker_plane.bridge.serve import BridgeServer
from broker_plane.client.http import HttpPuller
from broker_plane.client.trust import Trust
from broker_plane.config import load_settings
from broker_plane.plane.publish import Order
from broker_plane.runtime.connect import Plane
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.processes import memory, until
from broker_plane.testing.proxy import CuttingProxy
from broker_plane.testing.server import NatsServer
from broker_plane.wire.selector import WHOLE
from tests.faults.conftest import Home

pytestmark = pytest.mark.anyio
SIZE = 100_000_000
READERS = 20
BOUND = 64 << 20
PIECES = bytes(1_000_000)


async def pieces(size: int) -> AsyncGenerator[bytes, None]:
    for _ in range(0, size, len(PIECES)):
        yield PIECES


async def test_slow_readers_of_a_large_body_cost_the_bridge_little_memory(home: Home) -> None:
    async with home.connect() as plane, AsyncExitStack() as stack:
        url = (await plane.publish_pieces(pieces(SIZE), uses=0)).resource_url
        await plane.pull_to(url, home.settings.data_dir / "warm", via="http")
        pid = home.running().bridge_pid
        before = most = memory(pid)["VmRSS"]
        proxy = await stack.enter_async_context(CuttingProxy(plane.bridge_url, bytes_per_second=100_000))
        received = [0] * READERS

        async def read(number: int) -> None:
            async with plane.open(url.replace(plane.bridge_url, proxy.url), WHOLE, "http") as incoming:
                async for piece in incoming.pieces:
                    received[number] += len(piece)

        def enough() -> bool:
            nonlocal most
            most = max(most, memory(pid)["VmRSS"])
            return min(received) > 400_000

        async with anyio.create_task_group() as group:
            for number in range(READERS):
                group.start_soon(read, number)
            await until(enough, "every slow reader to have read for a while", seconds=60)
            group.cancel_scope.cancel()
        print(f"\n{READERS} slow readers of {SIZE:,} bytes: the bridge took {most - before:,} bytes more")
        assert most - before < BOUND
        assert proxy.connections == READERS


@pytest.mark.parametrize("bytes_per_second", [100_000, 4_000_000])
async def test_a_reader_that_goes_on_reading_is_not_cut_off_however_often_it_is_looked_at(
    wiring: Wiring, bytes_per_second: float
) -> None:
    size = int(bytes_per_second * 3)
    grant = (await wiring.publisher.publish(bytes(10 * size), Order(ttl=60, uses=1))).grant
    # What is 30 s elsewhere is shorter here: the reader is looked at ten times while it reads.
    server = BridgeServer(bridge_app(wiring.deliveries), limits=Limits(silence_seconds=0.3))
    puller = HttpPuller(Trust())
    async with server, CuttingProxy(server.url, bytes_per_second=bytes_per_second) as proxy:
        got = 0
        async with puller.pull(f"{proxy.url}/s2sp/data/{grant}", WHOLE) as incoming, aclosing(incoming.pieces):
            async for piece in incoming.pieces:
                got += len(piece)
                if got > size:
                    break
        await puller.close()
        assert proxy.connections == 1
