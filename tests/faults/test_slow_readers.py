"""Readers that take a large body slowly: the bridge's memory stays bounded, and they are not cut off."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest

from broker_plane.client.http import HttpPuller
from broker_plane.plane.bodies.publish import PublishOrder
from broker_plane.plane.ports import Puller
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.processes import memory, until
from broker_plane.testing.proxy import CuttingProxy
from broker_plane.web.protocol import Limits
from broker_plane.web.server import HttpServer
from broker_plane.wire.selector import WHOLE
from tests.bridge.apps import bridge_app
from tests.faults.conftest import Home
from tests.trusting import TRUSTING

pytestmark = pytest.mark.anyio
SIZE = 100_000_000
READERS = 20
BOUND = 80 << 20
PIECE = bytes(1_000_000)


async def pieces(size: int) -> AsyncGenerator[bytes, None]:
    for _ in range(0, size, len(PIECE)):
        yield PIECE


async def read(puller: Puller, url: str) -> None:
    async with puller.pull(url, WHOLE) as incoming:
        async for _ in incoming.pieces:
            pass


async def test_slow_readers_of_a_large_body_cost_the_bridge_little_memory(home: Home) -> None:
    async with home.connect() as plane:
        url = (await plane.publish_pieces(pieces(SIZE), uses="unlimited")).resource_url
        await plane.pull_to(url, home.settings.data_dir / "warm", via="http")
        pid = home.running().bridge_pid
        before = most = memory(pid)["VmRSS"]
        puller = HttpPuller(TRUSTING)
        async with (
            CuttingProxy(plane.bridge_url, bytes_per_second=100_000) as proxy,
            anyio.create_task_group() as group,
        ):
            for _ in range(READERS):
                group.start_soon(read, puller, url.replace(plane.bridge_url, proxy.url))

            def enough() -> bool:
                nonlocal most
                most = max(most, memory(pid)["VmRSS"])
                return proxy.received > READERS * 300_000

            await until(enough, "the slow readers to have read for a while", seconds=60)
            group.cancel_scope.cancel()
        await puller.close()
        print(f"\n{READERS} slow readers of {SIZE:,} bytes: the bridge took {most - before:,} bytes more")
        assert most - before < BOUND
        assert proxy.connections == READERS


async def test_a_reader_that_goes_on_reading_is_not_cut_off_however_often_it_is_looked_at(wiring: Wiring) -> None:
    grant = (await wiring.publisher.publish(bytes(SIZE), PublishOrder(ttl=60, uses=1))).grant
    # What is 30 s elsewhere is shorter here: the reader is looked at ten times while it reads.
    app = bridge_app(wiring.deliveries, wiring.broker.ready)
    server = HttpServer(app, tracking=app.tracking(Limits(silence_seconds=0.2)))
    puller = HttpPuller(TRUSTING)
    async with (
        server,
        CuttingProxy(server.url, bytes_per_second=4_000_000) as proxy,
        anyio.create_task_group() as group,
    ):
        group.start_soon(read, puller, f"{proxy.url}/s2sp/data/{grant}")
        await until(lambda: proxy.received > 8_000_000, "the reader to have read for a while")
        assert proxy.connections == 1
        group.cancel_scope.cancel()
    await puller.close()
