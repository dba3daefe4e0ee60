"""Single uses behind a relay that takes answers whole and then cuts its clients: what arrives is identical."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import GrantUsedError
from broker_plane.plane.grants.state import CLAIMS_A_USE
from broker_plane.runtime.bridging import bridging
from broker_plane.runtime.wiring import wire
from broker_plane.testing.server import NatsServer
from tests.faults.actor import digest_of
from tests.faults.relay import BufferingRelay
from tests.figures import Figure

pytestmark = pytest.mark.anyio
SIZE = 2_000_000
SECONDS = 60
FULL = 200


@asynccontextmanager
async def planes(nats_server: NatsServer) -> AsyncIterator[Plane]:
    settings = load_settings(nats_url=nats_server.url, delivery_confirmation="required")
    wiring = await wire(settings.nats_url, settings)
    try:
        async with (
            bridging(wiring, settings, host="127.0.0.1", port=0) as url,
            Plane.connect(load_settings(nats_url=nats_server.url, bridge_url=url, trusted_hosts="127.0.0.1")) as plane,
        ):
            yield plane
    finally:
        await wiring.close()


async def pull(plane: Plane, chance: random.Random) -> tuple[int, bool]:
    """How often a download was cut, and whether the grant was used up before it was here; it is once it is."""
    published = await plane.publish(os.urandom(SIZE), uses=1)
    cuts = [chance.randrange(SIZE // 5, SIZE // 2) for _ in range(chance.randrange(1, 4))]
    async with BufferingRelay(plane.bridge_url, cuts=cuts) as relay:
        url = published.resource_url.replace(plane.bridge_url, relay.url)
        try:
            raw = await plane.pull(url, via="http")
        except GrantUsedError:
            return relay.cut, True
        assert digest_of(raw) == published.body.digest
        with pytest.raises(GrantUsedError):
            await plane.pull(url, via="http")
    return relay.cut, False


@pytest.mark.parametrize("count", [20, pytest.param(FULL, marks=pytest.mark.full)])
async def test_downloads_through_a_relay_that_buffers_and_cuts(
    nats_server: NatsServer, figure: Figure, count: int
) -> None:
    chance = random.Random(7)
    async with planes(nats_server) as plane:
        ends = []
        for _ in range(count // 4):
            ends += await asyncio.gather(*(pull(plane, chance) for _ in range(4)))
    cuts, used = sum(cut for cut, _ in ends), sum(gone for _, gone in ends)
    if count == FULL:
        measured = f"{count - used} of {count} identical, {cuts} cuts, {used} grant_used"
        figure(f"{FULL} downloads through a cutting relay that buffers", measured, aim="0 grant_used", met=not used)
    assert cuts >= count
    assert used == 0


async def test_who_reports_each_delivery_as_failed_gets_three_of_them(nats_server: NatsServer) -> None:
    async with planes(nats_server) as plane, httpx2.AsyncClient(trust_env=False) as client:
        url = (await plane.publish(b"x" * 1000, uses=1)).resource_url
        for _ in range(CLAIMS_A_USE):
            answer = await client.get(url)
            assert answer.status_code == 200
            report = {"status": "failure", "lease": answer.headers["bp-lease"]}
            assert (await client.post(f"{url}/confirm", json=report)).json() == {"status": "released"}
        assert (await client.get(url)).json()["code"] == "grant_used"


async def retried(url: str) -> httpx2.Response:
    """The answer on a connection of its own."""
    async with httpx2.AsyncClient(trust_env=False, timeout=SECONDS) as client:
        return await client.get(url)


async def test_who_asks_again_on_a_connection_confirms_what_came_last(nats_server: NatsServer) -> None:
    async with planes(nats_server) as plane, httpx2.AsyncClient(trust_env=False, timeout=SECONDS) as client:
        url = (await plane.publish(b"x" * 1000, uses=1)).resource_url
        for _ in range(2):
            assert (await client.get(url)).status_code == 200
        assert (await client.post(f"{url}/confirm")).json() == {"status": "confirmed"}
        assert (await client.get(url)).json()["code"] == "grant_used"


@pytest.mark.full
async def test_a_use_that_nobody_confirms_comes_back_when_its_lease_is_over(nats_server: NatsServer) -> None:
    async with planes(nats_server) as plane, httpx2.AsyncClient(trust_env=False, timeout=SECONDS) as client:
        url = (await plane.publish(b"x" * 1000, uses=1)).resource_url
        first = await client.get(url)
        held = await retried(url)
        assert (first.status_code, held.status_code) == (200, 409)
        async with asyncio.timeout(SECONDS):
            while (again := await retried(url)).status_code == 409:  # noqa: ASYNC110  # of another holder
                await asyncio.sleep(0.5)
        assert again.content == first.content
        confirmed = await client.post(f"{url}/confirm", json={"lease": again.headers["bp-lease"]})
        assert confirmed.json() == {"status": "confirmed"}
        assert (await client.get(url)).json()["code"] == "grant_used"
