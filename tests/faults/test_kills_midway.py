"""nats-server or a bridge is killed in the middle of a put or a pull: whole or an error, and never a short success."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from hashlib import sha256
from typing import Literal

import anyio
import pytest

from broker_plane import Plane, Published
from broker_plane.errors import BrokerUnavailableError
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.processes import until
from broker_plane.wire.body import BodyInfo
from tests.faults.actor import digest_of
from tests.faults.conftest import Home

pytestmark = pytest.mark.anyio
Via = Literal["http", "nats"]
SIZE = 40_000_000
SIZES = (1_000, 100_000, 1_200_000)
"""A body in its answer, a body in one message, and a body in chunks."""
KILLS = 5


async def source(at_half: Callable[[], None]) -> AsyncIterator[bytes]:
    for sent in range(0, SIZE, 500_000):
        if sent == SIZE // 2:
            at_half()
        yield os.urandom(500_000)


async def is_whole(wiring: Wiring, body: BodyInfo) -> bool:
    raw = b"".join([piece async for piece in wiring.store.read(body)])
    return digest_of(raw) == body.digest


async def test_a_put_whose_server_is_killed_is_an_error_and_leaves_no_body(home: Home) -> None:
    async with home.connect() as plane, home.wired() as wiring:
        kept = await plane.publish(b"kept")
        with anyio.fail_after(30), pytest.raises(BrokerUnavailableError):
            await plane.publish_pieces(source(partial(home.kill, "nats")))
        assert await plane.bodies.list() == [kept.body]
        again = await plane.publish_pieces(source(lambda: None))
        assert await is_whole(wiring, again.body)


@pytest.mark.parametrize(
    ("victim", "via", "uses"),
    [
        ("nats", "http", 1),
        ("nats", "nats", 1),
        ("bridge", "nats", 1),
        ("bridge", "http", 2),
        # Nobody gives the lease of a killed bridge back: the one use is free again after 30 s.
        pytest.param("bridge", "http", 1, marks=pytest.mark.full),
    ],
)
async def test_a_pull_goes_on_after_the_kill_of(victim: str, home: Home, via: Via, uses: int) -> None:
    async with home.connect() as plane:
        raw = os.urandom(SIZE)
        url = (await plane.publish(raw, uses=uses or "unlimited")).resource_url
        digest, received, killed = sha256(), 0, False
        async with plane.pulls.open(url, via=via) as incoming:
            async for piece in incoming.pieces:
                digest.update(piece)
                received += len(piece)
                if not killed and received > SIZE // 4:
                    home.kill(victim)
                    killed = True
        assert (received, digest.hexdigest()) == (SIZE, digest_of(raw))


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.full)])
async def test_of_many_transfers_under_kills_all_that_were_acknowledged_are_there_and_all_that_are_there_are_whole(
    home: Home, count: int
) -> None:
    acknowledged: list[Published] = []
    numbers = list(range(count))

    async def publish(plane: Plane) -> None:
        while numbers:
            size = SIZES[numbers.pop() % len(SIZES)]
            try:
                acknowledged.append(await plane.publish(os.urandom(size), ttl=3600))
            except BrokerUnavailableError:
                continue

    def fewer_than(due: int) -> bool:
        return len(numbers) < due

    async def kill() -> None:
        for number in range(1, KILLS + 1):
            due = count - count * number // (KILLS + 2)
            await until(partial(fewer_than, due), "transfers", seconds=600)
            home.kill("nats", *["bridge"][: number % 2])

    async with home.connect() as plane, home.wired() as wiring:
        await asyncio.gather(kill(), *(publish(plane) for _ in range(8)))
        bodies = {body.id: body for body in await plane.bodies.list()}
        print(f"\n{count:,} transfers, {KILLS} kills: {len(acknowledged):,} acknowledged, {len(bodies):,} stored")
        assert all(published.body.id in bodies for published in acknowledged)
        assert all([await is_whole(wiring, body) for body in bodies.values()])
        for published in acknowledged[:: max(1, count // 20)]:
            assert digest_of(await plane.pull(published.resource_url)) == published.body.digest
