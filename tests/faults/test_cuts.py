"""A connection that is cut in the middle of an HTTP body: the pull goes on by Range, and what arrives verifies."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator

import pytest

from broker_plane import Plane, Published
from broker_plane.config import load_settings
from broker_plane.errors import TransferInterruptedError
from broker_plane.testing.proxy import PIECE_BYTES, CuttingProxy
from broker_plane.testing.server import NatsServer
from tests.faults.actor import digest_of
from tests.faults.conftest import Stage
from tests.trusting import HOSTS

pytestmark = pytest.mark.anyio
SIZE = 5_000_000
HEADERS = 2_000
"""Bytes of an answer before its body, at most; and of the answer to a confirmation."""


@pytest.fixture
async def plane(nats_server: NatsServer, stage: Stage) -> AsyncIterator[Plane]:
    settings = load_settings(nats_url=nats_server.url, bridge_url=await stage.bridge(nats_server), trusted_hosts=HOSTS)
    async with Plane.connect(settings) as plane:
        yield plane


def through(proxy: CuttingProxy, plane: Plane, published: Published) -> str:
    return published.resource_url.replace(plane.bridge_url, proxy.url)


async def test_two_hundred_cuts_of_single_use_pulls_give_identical_digests_and_little_comes_twice(plane: Plane) -> None:
    chance = random.Random(5)

    async def pull() -> tuple[int, int]:
        published = await plane.publish(os.urandom(SIZE), uses=1)
        cuts = [chance.randrange(SIZE // 20, SIZE // 12) for _ in range(10)]
        async with CuttingProxy(plane.bridge_url, cuts=cuts) as proxy:
            raw = await plane.pull(through(proxy, plane, published), via="http")
        assert digest_of(raw) == published.body.digest
        return proxy.cut, proxy.received - SIZE

    ends = [end for _ in range(5) for end in await asyncio.gather(*(pull() for _ in range(4)))]
    cuts, twice = (sum(column) for column in zip(*ends, strict=True))
    print(f"\n{cuts} cuts of {SIZE * len(ends):,} bytes in all: {twice:,} came twice")
    assert cuts == 200
    assert twice <= (cuts + len(ends)) * (PIECE_BYTES + HEADERS)


async def test_a_connection_that_never_lasts_long_still_brings_the_whole_body(plane: Plane) -> None:
    published = await plane.publish(os.urandom(SIZE), uses="unlimited")
    async with CuttingProxy(plane.bridge_url, cuts=[100_000] * 40) as proxy:
        assert digest_of(await plane.pull(through(proxy, plane, published), via="http")) == published.body.digest
    assert proxy.cut == 40


async def test_a_connection_that_is_cut_before_the_body_began_is_tried_again(plane: Plane) -> None:
    published = await plane.publish(os.urandom(SIZE), uses=1)
    async with CuttingProxy(plane.bridge_url, cuts=[1, 100]) as proxy:
        assert digest_of(await plane.pull(through(proxy, plane, published), via="http")) == published.body.digest


async def test_a_projection_that_is_cut_is_an_error_and_its_use_comes_back(plane: Plane) -> None:
    rows = [{"number": number, "text": os.urandom(20).hex()} for number in range(100_000)]
    published = await plane.publish(rows, uses=1)
    async with CuttingProxy(plane.bridge_url, cuts=[500_000]) as proxy:
        url = through(proxy, plane, published)
        with pytest.raises(TransferInterruptedError):
            await plane.pull(url, via="http", columns=["text"])
        assert await plane.pull(url, via="http", columns=["text"]) == [{"text": row["text"]} for row in rows]
