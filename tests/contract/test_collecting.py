"""Bodies that are freed after the last confirmation: not before, not for others, and over both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import BodyNotFoundError, BrokerPlaneError
from broker_plane.testing.processes import until
from broker_plane.wire.names import BodyId
from tests.faults.http_reader import get

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(settings: Settings, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


async def stored(plane: Plane, body_id: BodyId) -> bool:
    return body_id in {body.id for body in await plane.bodies.list()}


async def freed(plane: Plane, body_id: BodyId) -> None:
    async def gone() -> bool:
        return not await stored(plane, body_id)

    await until(gone, "the body to be freed", 5)


async def marked(plane: Plane) -> None:
    """What was confirmed so far has had its effect on records."""
    collecting = plane.wiring.grants.collecting
    await until(lambda: collecting._task is None, "the marks to be written", 5)


async def test_it_is_freed_by_the_last_use_of_its_only_grant(plane: Plane) -> None:
    published = await plane.publish(b"body", uses=2, delete_when_used=True)
    await plane.pull(published.resource_url, via="nats")
    await marked(plane)
    assert await stored(plane, published.body.id)
    await plane.pull(published.resource_url, via="http")
    await freed(plane, published.body.id)
    with pytest.raises(BrokerPlaneError):
        await plane.pull(published.resource_url, via="http")
    assert "broker_plane_bodies_collected_total 1" in (await get(f"{plane.bridge_url}/metrics")).body.decode()


async def test_it_is_freed_by_the_last_of_many_and_not_by_the_one_before(plane: Plane) -> None:
    published = await plane.publish(b"body", uses=1, delete_when_used=True)
    urls = [published.resource_url, *(url for _, url in await plane.grants.mint_many(published.body.id, 30))]
    urls += [url for _, url in await plane.grants.mint_many(published.body.id, ["alice", "bob"])]
    *most, last = urls
    ways = ["http", "nats"] * len(urls)
    await asyncio.gather(
        *(plane.pull(url, via="http" if way == "http" else "nats") for url, way in zip(most, ways, strict=False))
    )
    await marked(plane)
    assert await stored(plane, published.body.id)
    await plane.pull(last, via="http")
    await freed(plane, published.body.id)


async def test_a_grant_that_is_revoked_needs_no_use(plane: Plane) -> None:
    published = await plane.publish(b"body", uses=1, delete_when_used=True)
    (_, other), *_ = await plane.grants.mint_many(published.body.id, 1)
    await plane.pull(other)
    await marked(plane)
    assert await stored(plane, published.body.id)
    await plane.revoke(published.resource_url)
    await freed(plane, published.body.id)


async def test_a_delivery_that_failed_frees_nothing(plane: Plane) -> None:
    published = await plane.publish(b"body", uses=1, delete_when_used=True)
    with pytest.raises(ValueError, match="not these"):
        async with plane.pulls.open(published.resource_url) as incoming:
            assert [piece async for piece in incoming.pieces]
            raise ValueError("not these")
    await marked(plane)
    assert await stored(plane, published.body.id)


@pytest.mark.parametrize("collect", [True, False])
async def test_a_grant_of_unlimited_use_or_no_wish_for_it_leaves_the_body(plane: Plane, collect: bool) -> None:
    published = await plane.publish(b"body", uses=1, delete_when_used=collect)
    if collect:
        await plane.grants.mint_many(published.body.id, 1, uses="unlimited")
    await plane.pull(published.resource_url)
    await marked(plane)
    assert await stored(plane, published.body.id)


async def test_a_freed_body_gets_no_further_grant(plane: Plane) -> None:
    published = await plane.publish(b"body", uses=1, delete_when_used=True)
    await plane.pull(published.resource_url)
    await freed(plane, published.body.id)
    with pytest.raises(BodyNotFoundError):
        await plane.grants.mint_many(published.body.id, 1)
