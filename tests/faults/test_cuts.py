"""A connection that is cut in the middle of an HTTP body: the pull goes on by Range, and what arrives verifies."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator

import pytest

from broker_plane.config import load_settings
from broker_plane.runtime.connect import Plane, Published
from broker_plane.testing.proxy import CuttingProxy
from broker_plane.testing.server import NatsServer
from tests.faults.actor import digest_of
from tests.faults.conftest import Stage
from tests.faults.http_reader import get

pytestmark = pytest.mark.anyio
SIZE = 10_000_000


@pytest.fixture
async def plane(nats_server: NatsServer, stage: Stage) -> AsyncIterator[Plane]:
    settings = load_settings(nats_url=nats_server.url, bridge_url=await stage.bridge(nats_server))
    async with Plane.connect(settings) as plane:
        yield plane


async def bytes_out(plane: Plane) -> int:
    """What the bridge has sent of all bodies, by its own count."""
    lines = (await get(f"{plane.bridge_url}/metrics")).body.decode().splitlines()
    return int(next(line for line in lines if line.startswith("broker_plane_body_bytes_total")).split()[1])


async def test_two_hundred_cuts_of_single_use_pulls_give_identical_digests_and_little_is_sent_again(
    plane: Plane,
) -> None:
    chance = random.Random(5)
    before = await bytes_out(plane)

    async def pull() -> tuple[int, int]:
        published = await plane.publish(os.urandom(SIZE), uses=1)
        cuts = [chance.randrange(SIZE // 20, SIZE // 12) for _ in range(10)]
        async with CuttingProxy(plane.bridge_url, cuts=cuts) as proxy:
            url = published.resource_url.replace(plane.bridge_url, proxy.url)
            raw = await plane.pull(url, via="http")
        assert digest_of(raw) == published.body.digest
        return proxy.cut, proxy.received - SIZE

    ends = [end for _ in range(5) for end in await asyncio.gather(*(pull() for _ in range(4)))]
    cuts, again = (sum(column) for column in zip(*ends, strict=True))
    sent = await bytes_out(plane) - before
    print(f"\n{cuts} cuts of {SIZE * 20:,} bytes: {again:,} came again; the bridge sent {sent - SIZE * 20:,} more")
    assert cuts == 200
