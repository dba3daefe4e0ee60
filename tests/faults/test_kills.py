"""kill -9 between publish and pull: what was acknowledged is pulled, both ways, with the same resource_url."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from broker_plane import Plane
from tests.faults.actor import digest_of
from tests.faults.conftest import Home

pytestmark = pytest.mark.anyio
SIZES = (400_000, 6_000_000)
"""One message that comes in the answer, and chunks in two windows."""


async def pull_both_ways(plane: Plane, url: str, digest: str) -> None:
    assert digest_of(await plane.pull(url, via="http")) == digest
    assert digest_of(await plane.pull(url, via="nats")) == digest


@pytest.mark.parametrize(
    "victims", [("producer",), ("bridge",), ("nats",), ("producer", "bridge", "nats")], ids=" and ".join
)
async def test_a_body_is_pulled_after_the_kill_of(victims: Collection[str], home: Home) -> None:
    producers = [home.act("publish", size, 4) for size in SIZES]
    published = [await producer.said() for producer in producers]
    before = home.running()
    async with home.connect() as early:
        if "producer" in victims:
            for producer in producers:
                producer.kill()
        home.kill(*(victim for victim in victims if victim != "producer"))
        for offer in published:
            await pull_both_ways(early, offer["url"], offer["digest"])
        async with home.connect() as late:
            for offer in published:
                await pull_both_ways(late, offer["url"], offer["digest"])
    after = home.running()
    assert (after.bridge_url, after.nats_url) == (before.bridge_url, before.nats_url)
