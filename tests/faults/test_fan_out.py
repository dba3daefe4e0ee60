"""One body and very many consumers, each with a grant of its own that it got narrowed, over HTTP and over NATS."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from time import perf_counter
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.broker.urls import bare
from broker_plane.runtime.pulls import Via
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.processes import memory, peak_memory
from broker_plane.wire.names import BodyId
from tests.faults.conftest import Home, Stage

pytestmark = pytest.mark.anyio
SIZE = 5_000_000
BOUND = 200_000_000
PATIENCE_SECONDS = 600
PROCESSES: tuple[Via, ...] = ("http", "nats", "http", "nats")
"""How the consumers of each process pull."""


async def narrowed_grants(plane: Plane, body_id: BodyId, count: int) -> list[str]:
    """A separate grant for each, which whoever hands it on has narrowed: to less time, and to this many bytes."""
    made = await plane.grants.mint_many(body_id, [f"consumer-{number}" for number in range(count)], uses=1)
    return [plane.narrow(url, ttl=500, max_bytes=SIZE).resource_url for _, url in made]


async def consumers(wiring: Wiring) -> int:
    """JetStream consumers of all streams of the account, as nats-server counts them."""
    found: int = (await wiring.connection.api("INFO"))["consumers"]
    return found


async def crowd(stage: Stage, home: Home, addresses: list[str]) -> list[Any]:
    """What each of the processes says at its end; all begin together, and share out the addresses evenly."""
    running = home.running()
    actors = [stage.run("tests.faults.crowd") for _ in PROCESSES]
    for actor in actors:
        assert (await actor.said())["ready"]
    for number, (actor, via) in enumerate(zip(actors, PROCESSES, strict=True)):
        share = [(address, via) for address in addresses[number :: len(PROCESSES)]]
        actor.tell(json.dumps({"nats": bare(running.nats_url), "bridge": running.bridge_url, "consumers": share}))
    return await asyncio.gather(*(actor.said(PATIENCE_SECONDS) for actor in actors))


@pytest.mark.parametrize("each", [32, pytest.param(1_000, marks=pytest.mark.full)])
async def test_every_one_of_many_consumers_gets_the_body_and_the_bridge_stays_small(
    home: Home, stage: Stage, each: int
) -> None:
    async with home.connect() as plane, home.wired() as wiring:
        published = await plane.publish(os.urandom(SIZE), uses=1)
        addresses = await narrowed_grants(plane, published.body.id, 2 * each)
        began = perf_counter()
        said = await crowd(stage, home, addresses)
        seconds = perf_counter() - began
        ends: Counter[str] = sum((Counter(one["ends"]) for one in said), Counter())
        assert ends == {published.body.digest: 2 * each}
        assert await consumers(wiring) == 0
        running = home.running()
        bridge, nats = peak_memory(running.bridge_pid), peak_memory(running.nats_pid)
        print(
            f"\n{each} + {each} consumers of {SIZE:,} bytes: {seconds:.1f} s, bridge {bridge / 1e6:.0f} MB, "
            f"nats-server {nats / 1e6:.0f} MB, a process of consumers {max(one['memory'] for one in said) / 1e6:.0f} MB"
        )
        assert bridge < BOUND


async def test_ten_thousand_grants_are_made_without_asking_the_broker_for_each(home: Home) -> None:
    """Each is a grant of its own; the time is printed and not held against anything."""
    async with home.connect() as plane:
        published = await plane.publish(b"body")
        began = perf_counter()
        made = await plane.grants.mint_many(published.body.id, 10_000)
        seconds = perf_counter() - began
        print(f"\n10,000 grants in {seconds:.2f} s, {memory()['VmHWM'] / 1e6:.0f} MB")
        assert len({url for _, url in made}) == 10_000
        assert await plane.pull(made[-1][1]) == b"body"
