"""A sweep of a real store: chunks of a put that was killed go after ten minutes, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import orjson
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import StorageError
from broker_plane.files.sources import LocalFiles
from broker_plane.plane.bodies.publish import Publisher, PublishOrder
from broker_plane.plane.reclaim.orphans import ELECTION, OrphanCollector
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.bodies import NatsBodyStore
from broker_plane.storage.entries import NatsEntryStore
from broker_plane.storage.orphans import NatsOrphans
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.names import BodyId
from broker_plane.wire.plane_names import Names
from tests.faults.actor import digest_of
from tests.faults.conftest import Stage

pytestmark = pytest.mark.anyio
FOREIGN = BodyId("A" * 22)


def sweeper(wiring: Wiring, after: float) -> OrphanCollector:
    """One that takes chunks for orphans after so many seconds."""
    connection = wiring.connection
    return OrphanCollector(NatsEntryStore(connection), NatsOrphans(connection), "test", after=after)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    made.close()


async def test_chunks_of_a_killed_put_go_after_ten_minutes_and_bodies_stay(
    wiring: Wiring, nats_server: NatsServer, stage: Stage
) -> None:
    swept = NatsOrphans(wiring.connection)
    kept = [
        await wiring.publisher.publish(os.urandom(size), PublishOrder(ttl=3600, uses=0)) for size in (10, 3_000_000)
    ]
    # As another program puts an object: its chunks have an id that might be one of ours, and its meta has its own name.
    await wiring.connection.request(Names().chunk_subject("local", FOREIGN), b"x")
    await wiring.connection.request("$O.bp_local.M.ZmlsZS50eHQ=", orjson.dumps({"name": "file.txt", "nuid": FOREIGN}))
    before = await swept.chunked("local")
    putting = stage.act("put", 86_400, nats_url=nats_server.url)
    while (await putting.said())["sent"] <= 5_000_000:
        pass
    putting.kill()
    orphans = await swept.chunked("local") - before
    assert len(orphans) == 1

    early = sweeper(wiring, 120)
    await early.sweep()  # frees what tests before this one left, and nothing of this one's
    assert orphans <= await swept.chunked("local")
    late = sweeper(wiring, -1)
    await late.sweep()
    left = await swept.chunked("local")
    assert not orphans & left
    assert {FOREIGN, *(published.body.id for published in kept)} <= left
    # No exact number: puts that other tests gave up may arrive between the listing and the sweep.
    assert late.freed >= len(orphans)
    for published in kept:
        raw = b"".join([piece async for piece in wiring.store.read(published.body)])
        assert digest_of(raw) == published.body.digest


async def test_every_owners_bucket_is_looked_at(wiring: Wiring) -> None:
    assert "local" in await NatsOrphans(wiring.connection).owners()


async def test_a_put_that_was_silent_for_so_long_that_it_may_be_swept_is_not_committed(
    wiring: Wiring,
) -> None:
    hasty = NatsBodyStore(wiring.connection, max_silence_seconds=-1)
    publisher = Publisher(hasty, wiring.grants, "local", files=LocalFiles(), now=wiring.now, random_bytes=os.urandom)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield os.urandom(1_000_000)

    with pytest.raises(StorageError, match="silent"):
        await publisher.publish_pieces(pieces(), PublishOrder(ttl=60, uses=0))
    assert await wiring.publisher.publish_pieces(pieces(), PublishOrder(ttl=60, uses=0))


async def test_a_bridge_sweeps_and_a_second_one_leaves_it_to_the_first(own_server: NatsServer) -> None:
    settings = load_settings(nats_url=own_server.url)
    async with Plane.connect(settings) as first:
        states = NatsEntryStore(first.wiring.connection)

        async def elected() -> bytes | None:
            return (await states.load(ELECTION))[0]

        holder = await until(elected, "the first to be elected")
        async with Plane.connect(settings) as second:
            other = OrphanCollector(states, NatsOrphans(second.wiring.connection), "other")
            assert not await other.turn()
        assert await elected() == holder
