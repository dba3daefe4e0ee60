"""Crowds of readers do not fill the memory of nats-server or the bridge: beyond the budget they wait and are served."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.broker.urls import bare
from broker_plane.testing.processes import memory, peak_memory
from tests.faults.conftest import Home, Stage
from tests.figures import Figure

pytestmark = pytest.mark.anyio
PATIENCE_SECONDS = 500
BRIDGE_BYTES = 200_000_000
NATS_BYTES = 512_000_000
PROCESSES = 4


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many readers, of so many bodies of this size in turn; each takes `rate` bytes a second, 0 is all it can."""

    readers: int
    size: int
    bodies: int = 1
    rate: int = 0
    via: str = "http"

    def __str__(self) -> str:
        slow = " slow" if self.rate else ""
        return f"{self.readers:,}{slow} readers of {self.bodies} x {self.size / 1e6:g} MB over {self.via}"


SMOKE = [
    Crowd(300, 1_100_000, bodies=3),
    Crowd(64, 17_000_000),
    Crowd(60, 3_000_000, rate=3_000_000),
    Crowd(32, 3_000_000, via="nats"),
]
FULL = [
    Crowd(500, 20_000_000),
    Crowd(1_000, 5_000_000),
    Crowd(480, 8_000_000, bodies=40),
    Crowd(256, 100_000_000),
    Crowd(300, 17_000_000),
    Crowd(500, 900_000, bodies=250),
    Crowd(500, 100_000_000, rate=400_000),
    Crowd(1_000, 5_000_000, via="nats"),
    Crowd(400, 1_000_000, bodies=40, via="nats"),
]


class Bystander:
    """Pulls small bodies over HTTP all the while."""

    def __init__(self, plane: Plane, urls: list[str]) -> None:
        self._plane = plane
        self._urls = urls
        self.pulls = 0
        self.worst = 0.0

    async def run(self) -> None:
        """Until it is cancelled; a pull that fails ends it."""
        while True:
            began = perf_counter()
            await self._plane.pull(self._urls[self.pulls % len(self._urls)], via="http")
            self.pulls += 1
            self.worst = max(self.worst, perf_counter() - began)
            await asyncio.sleep(0.1)


async def ends_of(stage: Stage, home: Home, crowd: Crowd, urls: list[str]) -> Counter[str]:
    """How the readers' pulls ended. All of them begin together, in a few processes."""
    module = "tests.faults.http_crowd" if crowd.via == "http" else "tests.faults.crowd"
    actors = [stage.run(module) for _ in range(PROCESSES)]
    for actor in actors:
        assert (await actor.said())["ready"]
    running = home.running()
    for number, actor in enumerate(actors):
        share = urls[number::PROCESSES]
        job: dict[str, Any] = {"urls": share, "rate": crowd.rate}
        if crowd.via == "nats":
            pulls = [(url, "nats") for url in share]
            job = {"nats": bare(running.nats_url), "bridge": running.bridge_url, "consumers": pulls}
        actor.tell(json.dumps(job))
    said = await asyncio.gather(*(actor.said(PATIENCE_SECONDS) for actor in actors))
    return sum((Counter(one["ends"]) for one in said), Counter())


@pytest.mark.parametrize("crowd", [*SMOKE, *(pytest.param(each, marks=pytest.mark.full) for each in FULL)], ids=str)
async def test_every_reader_of_a_crowd_is_served_and_memory_stays_bounded(
    home: Home, stage: Stage, figure: Figure, crowd: Crowd
) -> None:
    async with home.connect() as plane:
        published = [
            await plane.publish(os.urandom(crowd.size), uses="unlimited", ttl=3_600) for _ in range(crowd.bodies)
        ]
        small = [(await plane.publish(os.urandom(2_000), uses="unlimited", ttl=3_600)).resource_url for _ in range(5)]
        urls = [published[number % crowd.bodies].resource_url for number in range(crowd.readers)]
        bystander = Bystander(plane, small)
        watching = asyncio.create_task(bystander.run())
        began = perf_counter()
        ends = await ends_of(stage, home, crowd, urls)
        seconds = perf_counter() - began
        assert not watching.done(), watching
        watching.cancel()
    running = home.running()
    bridge, nats = peak_memory(running.bridge_pid), peak_memory(running.nats_pid)
    wanted = Counter(published[number % crowd.bodies].body.digest for number in range(crowd.readers))
    measured = (
        f"{(ends & wanted).total():,} whole in {seconds:.0f} s, bridge {bridge / 1e6:.0f} MB, nats-server "
        f"{nats / 1e6:.0f} MB, {bystander.pulls} pulls of a bystander, the slowest {bystander.worst:.1f} s"
    )
    figure(
        f"Fan-out: {crowd}",
        measured,
        aim="all whole, bridge < 200 MB, nats-server < 512 MB, all of the bystander's pulls succeed",
        met=ends == wanted and bridge < BRIDGE_BYTES and nats < NATS_BYTES,
    )
    assert ends == wanted
    assert bridge < BRIDGE_BYTES
    assert nats < NATS_BYTES
    assert memory(running.bridge_pid)["VmRSS"] < BRIDGE_BYTES
