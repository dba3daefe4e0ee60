"""Revocation on two bridges and both ways: the next pull is refused, a running one is cut, whoever asks where."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import (
    BodyNotFoundError,
    GrantRefusedError,
    GrantRevokedError,
    TransferInterruptedError,
)
from broker_plane.runtime.pulls import Via
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from tests.faults.conftest import Stage
from tests.faults.http_reader import get

pytestmark = pytest.mark.anyio
LARGE = 24_000_000


@pytest.fixture(scope="module")
async def bridges(nats_server: NatsServer) -> AsyncIterator[list[str]]:
    stage = Stage()
    yield [await stage.bridge(nats_server), await stage.bridge(nats_server)]
    stage.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture
async def plane(nats_server: NatsServer, bridges: list[str]) -> AsyncIterator[Plane]:
    hosts = ",".join(bridge.removeprefix("http://") for bridge in bridges)
    settings = load_settings(nats_url=nats_server.url, bridge_url=bridges[0], trusted_hosts=hosts)
    async with Plane.connect(settings) as connected:
        yield connected


def elsewhere(url: str, bridges: list[str]) -> str:
    """The same grant at the other bridge."""
    return url.replace(bridges[0], bridges[1])


@pytest.mark.parametrize("uses", [0, 3], ids=["unlimited", "counted"])
@pytest.mark.parametrize("handle", ["url", "subject", "grant", "id", "uuid"])
async def test_a_revoked_grant_is_refused_on_every_bridge_and_both_ways(
    plane: Plane, bridges: list[str], uses: int, handle: str
) -> None:
    published = await plane.publish(b"body", uses=uses or "unlimited")
    url = published.resource_url
    assert await plane.pull(url, via="http") == await plane.pull(url, via="nats") == b"body"
    handles = {
        "url": url,
        "subject": published.subject,
        "grant": published.grant,
        "id": published.transfer_id.replace("-", ""),
        "uuid": published.transfer_id,
    }
    revoked = await plane.revoke(handles[handle])
    assert revoked.grant_id == handles["id"]

    async def refused_by(address: str, via: Via) -> bool:
        try:
            await plane.pull(address, via=via)
        except GrantRevokedError:
            return True
        return False

    # The watch hears of it a moment later than we do; no pull that begins a second later gets through.
    for address in (url, elsewhere(url, bridges)):
        await until(partial(refused_by, address, "http"), "the bridge to refuse", 1)
    for _ in range(8):  # either bridge may answer
        await until(partial(refused_by, url, "nats"), "the responders to refuse", 1)
    assert (await get(url)).status == 410
    assert b"grant_revoked" in (await get(url)).body


async def test_a_running_pull_over_http_is_cut(plane: Plane, bridges: list[str]) -> None:
    for uses in (0, 2):
        published = await plane.publish(os.urandom(LARGE), uses=uses or "unlimited")
        for address in (published.resource_url, elsewhere(published.resource_url, bridges)):
            grant = (await plane.grants.mint_many(published.body.id, 1, uses=uses or "unlimited"))[0][1]
            grant = grant if address == published.resource_url else elsewhere(grant, bridges)
            received = 0
            with pytest.raises(GrantRevokedError):
                async with plane.pulls.open(grant, via="http") as incoming:
                    async for piece in incoming.pieces:
                        if not received:
                            await plane.revoke(grant)
                        received += len(piece)
            assert 0 < received < LARGE


async def test_a_running_pull_over_nats_gets_no_further_window(plane: Plane) -> None:
    for uses in (0, 2):
        published = await plane.publish(os.urandom(LARGE), uses=uses or "unlimited")
        received = 0
        with pytest.raises(GrantRevokedError):
            async with plane.pulls.open(published.resource_url, via="nats") as incoming:
                async for piece in incoming.pieces:
                    if not received:
                        await plane.revoke(published.resource_url)
                    received += len(piece)
        # The window under way, and one that may have been asked for before the responder heard of it.
        assert 0 < received <= 2 * (4 << 20)


async def test_others_grants_for_the_same_body_live_on(plane: Plane) -> None:
    published = await plane.publish(b"body", uses="unlimited")
    (_, other), (_, taken) = await plane.grants.mint_many(published.body.id, ["alice", "bob"], uses="unlimited")
    await plane.revoke(taken)
    assert await plane.pull(other, via="http") == await plane.pull(other, via="nats") == b"body"


async def test_revoking_twice_is_revoking_once(plane: Plane) -> None:
    published = await plane.publish(b"body", uses=1)
    first = await plane.revoke(published.resource_url)
    assert await plane.revoke(published.resource_url) == first


async def test_a_used_grant_can_be_revoked_too(plane: Plane) -> None:
    published = await plane.publish(b"body", uses=1)
    assert await plane.pull(published.resource_url, via="nats") == b"body"
    await plane.revoke(published.resource_url)
    with pytest.raises(GrantRevokedError):
        await plane.pull(published.resource_url, via="nats")


async def test_a_forged_grant_revokes_nothing(plane: Plane) -> None:
    published = await plane.publish(b"body", uses=1)
    forged = published.grant[:-1] + ("A" if published.grant[-1] != "A" else "B")
    with pytest.raises(GrantRefusedError):
        await plane.revoke(forged)
    assert await plane.pull(published.resource_url, via="http") == b"body"


async def test_of_a_revocation_and_pulls_that_race_nobody_is_confirmed_after_it(plane: Plane) -> None:
    for _ in range(20):
        published = await plane.publish(b"x" * 1000, uses=8)
        ways: list[Via] = ["http", "nats"] * 4
        pulls = [asyncio.create_task(plane.pull(published.resource_url, via=way)) for way in ways]
        await asyncio.sleep(0)
        await plane.revoke(published.resource_url)
        ends = await asyncio.gather(*pulls, return_exceptions=True)
        # A pull that had its bytes when the grant ended may learn that at its confirmation.
        assert {type(end) for end in ends} <= {bytes, GrantRevokedError, TransferInterruptedError}
        with pytest.raises(GrantRevokedError):
            await plane.grants.body_of(published.grant)


async def test_a_bridge_that_was_not_there_refuses_as_well(plane: Plane, nats_server: NatsServer, stage: Stage) -> None:
    published = await plane.publish(b"body", uses="unlimited")
    await plane.revoke(published.resource_url)
    late = await stage.bridge(nats_server)
    assert (await get(published.resource_url.replace(plane.bridge_url, late))).status == 410


async def test_what_was_revoked_while_a_bridge_was_away_from_nats_is_refused_when_it_is_back(
    own_server: NatsServer, stage: Stage
) -> None:
    bridge = await stage.bridge(own_server)
    async with Plane.connect(load_settings(nats_url=own_server.url, bridge_url=bridge)) as plane:
        urls = [(await plane.publish(b"body", uses="unlimited")).resource_url for _ in range(5)]
        for url in urls:
            assert await plane.pull(url, via="http") == b"body"
            await plane.revoke(url)
            own_server.kill()
            own_server.start()

            async def refused(url: str = url) -> bool:
                answer = await get(url)
                assert answer.status in (410, 503), "a revoked grant was served"
                return answer.status == 410

            await until(refused, "the bridge to be back")


async def test_deleting_is_for_all_grants_and_revoking_for_one(plane: Plane) -> None:
    published = await plane.publish(b"body", uses="unlimited")
    await plane.bodies.delete(published.body.id)
    with pytest.raises(BodyNotFoundError):
        await plane.pull(published.resource_url, via="http")
