"""The queue of work: stored once, claimed by one process at a time, given back, taken over, and kept over restarts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from broker_plane.broker.connection import Connection
from broker_plane.config import load_settings
from broker_plane.errors import BrokerUnavailableError, TooLargeError
from broker_plane.plane.exchanges.ports import Claim
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.storage.layout import Share, ensure_work
from broker_plane.storage.work_queue import NatsWorkQueue
from broker_plane.testing.server import NatsServer

pytestmark = pytest.mark.anyio
SECONDS = 30
"""For what takes less than three."""


class Queue:
    """A queue of one name, as several processes have it."""

    def __init__(self, lease_seconds: float = 10.0) -> None:
        self.name = f"t{secrets.token_hex(6)}"
        self._lease_seconds = lease_seconds

    def over(self, connection: Connection) -> NatsWorkQueue:
        stream, subjects = f"BP_{self.name}", [f"{self.name}.>"]
        return NatsWorkQueue(
            connection,
            stream=stream,
            durable="work",
            subjects=subjects,
            ensure=lambda: ensure_work(connection, stream, subjects, Share(1 << 20, 16)),
            lease_seconds=self._lease_seconds,
        )

    def subject(self, number: int) -> str:
        return f"{self.name}.{number}"


async def soon(claims: AsyncGenerator[Claim, None]) -> Claim:
    async with asyncio.timeout(SECONDS):
        return await anext(claims)


@asynccontextmanager
async def claiming(queue: NatsWorkQueue, room: int = 5) -> AsyncIterator[AsyncGenerator[Claim, None]]:
    async with aclosing(queue.claims(lambda: room)) as claims:
        yield claims


async def test_work_is_stored_once_for_each_subject_even_when_it_is_finished(wiring: Wiring) -> None:
    queue = Queue()
    work = queue.over(wiring.connection)
    assert await work.put(queue.subject(1), b"first", {"Bp-X": "1"}, 60)
    assert not await work.put(queue.subject(1), b"again", {}, 60)
    async with claiming(work) as claims:
        claim = await soon(claims)
        assert (claim.subject, claim.payload, claim.headers["Bp-X"], claim.attempt) == (
            queue.subject(1),
            b"first",
            "1",
            1,
        )
        assert abs(claim.at - wiring.connection.clock.now()) < 5
        await claim.done()
    assert not await work.put(queue.subject(1), b"again", {}, 60)


async def test_work_waits_for_room(wiring: Wiring) -> None:
    queue = Queue()
    work = queue.over(wiring.connection)
    for number in range(5):
        await work.put(queue.subject(number), b"", {}, 60)
    running: list[Claim] = []
    async with aclosing(work.claims(lambda: 2 - len(running))) as claims:
        running.append(await soon(claims))
        running.append(await soon(claims))
        third = asyncio.create_task(soon(claims))
        async with claiming(work) as others:  # which get what this one has no room for
            assert {(await soon(others)).subject for _ in range(3)} == {queue.subject(number) for number in (2, 3, 4)}
        assert not third.done()
        await cancel_and_forget(third)


async def test_what_is_given_back_is_claimed_again_and_counted(wiring: Wiring) -> None:
    queue = Queue()
    work = queue.over(wiring.connection)
    await work.put(queue.subject(1), b"", {}, 60)
    async with claiming(work) as claims:
        await (await soon(claims)).again()
        again = await soon(claims)
        assert again.attempt == 2
        await again.again(0.2)
        assert (await soon(claims)).attempt == 3


async def test_a_lease_that_is_not_extended_ends_and_its_claim_can_no_longer_give_back(wiring: Wiring) -> None:
    queue = Queue(lease_seconds=1)
    work = queue.over(wiring.connection)
    await work.put(queue.subject(1), b"", {}, 60)
    async with claiming(work, room=1) as first, claiming(work) as second:
        late = await soon(first)
        asked = asyncio.create_task(anext(second))
        for _ in range(3):
            await late.extend()
            await asyncio.sleep(0.6)
            assert not asked.done()
        taken = await asyncio.wait_for(asked, SECONDS)
        assert taken.attempt == 2
        await late.again()  # without effect: the lease is another one's
        await taken.extend()
        await taken.done()


async def test_claims_that_nobody_has_taken_are_given_back_at_the_end(wiring: Wiring) -> None:
    queue = Queue(lease_seconds=60)
    work = queue.over(wiring.connection)
    for number in range(10):
        await work.put(queue.subject(number), b"", {}, 60)
    async with claiming(work, room=10) as claims:
        kept = await soon(claims)
    async with claiming(work, room=10) as claims:
        others = {(await soon(claims)).subject for _ in range(9)}
    assert len(others | {kept.subject}) == 10


async def test_a_claim_tells_from_when_on_finished_work_is_known(wiring: Wiring) -> None:
    queue = Queue()
    work, other = queue.over(wiring.connection), queue.over(wiring.connection)
    room = 3
    async with aclosing(work.claims(lambda: room)) as claims:
        for number in range(3):
            await work.put(queue.subject(number), b"", {}, 60)
            first = await soon(claims)
            await first.done()
            room = 3 if number < 1 else 1
        room = 0
        asked = asyncio.create_task(soon(claims))
        await asyncio.sleep(0.05)  # nothing is requested meanwhile
        await wiring.connection.api(f"CONSUMER.DELETE.BP_{queue.name}.work")
        async with claiming(other, room=1) as others:
            assert (await soon(others)).known_since > first.known_since
        room = 3
        assert (await asked).known_since > first.known_since


async def test_too_large_work_is_refused(wiring: Wiring) -> None:
    queue = Queue()
    with pytest.raises(TooLargeError):
        await queue.over(wiring.connection).put(queue.subject(1), bytes(8 << 20), {}, 60)


async def test_claiming_goes_on_after_a_restart_and_after_the_consumer_was_deleted(
    own_server: NatsServer, tmp_path: Path
) -> None:
    wired = await wire(own_server.url, load_settings(nats_url=own_server.url, data_dir=tmp_path))
    queue = Queue()
    work = queue.over(wired.connection)
    async with claiming(work) as claims:
        asked = asyncio.create_task(soon(claims))
        await asyncio.sleep(0)
        own_server.kill()
        own_server.start()
        await put_again(work, queue.subject(1))
        await (await asked).done()
        asked = asyncio.create_task(soon(claims))
        await wired.connection.api(f"CONSUMER.DELETE.BP_{queue.name}.work")
        await put_again(work, queue.subject(2))
        subjects = {(await asked).subject}
        if subjects == {queue.subject(1)}:  # the broker has forgotten that it was finished
            subjects.add((await soon(claims)).subject)
        assert queue.subject(2) in subjects
    await wired.close()


async def put_again(work: NatsWorkQueue, subject: str) -> None:
    for _ in range(100):
        try:
            await work.put(subject, b"", {}, 60)
            return
        except BrokerUnavailableError:
            await asyncio.sleep(0.05)
