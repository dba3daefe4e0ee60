"""The log of sessions on a real nats-server: ordered, each group stored once, and announced once it is stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import anyio
import pytest

from broker_plane.broker.messages import Message
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import BodyNotFoundError, ConflictError, SessionNotFoundError
from broker_plane.plane.sessions.ports import Group, Snapshot
from broker_plane.runtime.wiring import Wiring
from broker_plane.sessions.entries import Entry, pack_entries
from broker_plane.storage.sessions import NatsSessionLog
from broker_plane.testing.processes import until

pytestmark = pytest.mark.anyio

OWNER = "crm"
LARGE = 2_000


def entry(revision: int, **content: Any) -> Entry:
    return Entry(revision=revision, at=1e9, participant="anna-123456", role="editor", kind="operation", content=content)


@pytest.fixture
def session() -> str:
    """A session that no other test uses."""
    return uuid4().hex[:22]


@pytest.fixture
async def log(wiring: Wiring) -> AsyncIterator[NatsSessionLog]:
    yield NatsSessionLog(wiring.connection, wiring.store, in_message_bytes=LARGE, poll_seconds=0.2)


@pytest.fixture
async def other(wiring: Wiring) -> NatsSessionLog:
    """The log as another process sees it."""
    return NatsSessionLog(wiring.connection, wiring.store, in_message_bytes=LARGE, poll_seconds=0.2)


async def groups_of(log: NatsSessionLog, session: str, after: int = 0) -> list[Group]:
    async with aclosing(log.read(session, after)) as groups:
        return [group async for group in groups]


async def some(groups: AsyncGenerator[Group, None], count: int) -> list[int]:
    """The revisions of the next `count` groups."""
    revisions: list[int] = []
    with anyio.fail_after(20):
        while len(revisions) < count:
            revisions += [each.revision for each in (await anext(groups)).entries]
    return revisions


async def bodies_of(wiring: Wiring) -> set[str]:
    return {body.id async for body in wiring.store.list(OWNER)}


async def test_groups_are_read_in_the_order_in_which_they_were_stored(
    log: NatsSessionLog, other: NatsSessionLog, session: str
) -> None:
    first = await log.create(session, OWNER, [entry(1)], 60)
    second = await other.append(session, [entry(2), entry(3, text="é🌴")], first.sequence)
    third = await log.append(session, [entry(4)], second.sequence)
    assert await groups_of(other, session) == [first, second, third]
    assert await groups_of(log, session, first.sequence) == [second, third]
    assert await groups_of(log, session, third.sequence) == []


async def test_a_group_after_an_older_one_is_refused_and_nothing_is_stored(
    log: NatsSessionLog, other: NatsSessionLog, session: str
) -> None:
    first = await log.create(session, OWNER, [entry(1)], 60)
    second = await log.append(session, [entry(2)], first.sequence)
    with pytest.raises(ConflictError):
        await other.append(session, [entry(2, text="other")], first.sequence)
    assert await groups_of(other, session) == [first, second]


async def test_a_session_is_created_once(log: NatsSessionLog, session: str) -> None:
    await log.create(session, OWNER, [entry(1)], 60)
    with pytest.raises(ConflictError):
        await log.create(session, OWNER, [entry(1)], 60)
    assert (await log.find(session)).owner == OWNER


async def test_a_session_that_does_not_exist_is_not_found(log: NatsSessionLog, session: str) -> None:
    for attempt in (
        lambda: log.find(session),
        lambda: log.append(session, [entry(1)], 0),
        lambda: groups_of(log, session),
    ):
        with pytest.raises(SessionNotFoundError):
            await attempt()
    async with aclosing(log.follow(session, 0)) as groups:
        with pytest.raises(SessionNotFoundError):
            await anext(groups)


async def test_a_log_expires_with_its_session(log: NatsSessionLog, other: NatsSessionLog, session: str) -> None:
    first = await log.create(session, OWNER, [entry(1)], 1)
    await log.append(session, [entry(2, text="x" * 2 * LARGE)], first.sequence)

    async def gone() -> bool:
        try:
            await groups_of(other, session)
        except (SessionNotFoundError, BodyNotFoundError):
            return True
        return False

    await until(gone, "the log to expire", 30)
    for each in (log, other):
        with pytest.raises(SessionNotFoundError):
            await each.append(session, [entry(3)], first.sequence)


async def test_a_follower_gets_what_is_stored_and_then_what_is_written(
    log: NatsSessionLog, other: NatsSessionLog, session: str
) -> None:
    last = await log.create(session, OWNER, [entry(1)], 60)
    last = await log.append(session, [entry(2), entry(3)], last.sequence)
    async with aclosing(other.follow(session, 0)) as groups:
        assert await some(groups, 3) == [1, 2, 3]
        last = await log.append(session, [entry(4)], last.sequence)
        await log.append(session, [entry(5, text="x" * 2 * LARGE)], last.sequence)
        assert await some(groups, 2) == [4, 5]
    async with aclosing(other.follow(session, last.sequence)) as groups:
        assert await some(groups, 1) == [5]


@pytest.mark.parametrize("after", ["another one", "a while"])
async def test_a_group_whose_announcement_is_lost_is_read_after(
    after: str, log: NatsSessionLog, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, take = 0, Subscription.take

    def lossy(subscription: Subscription, message: Message) -> None:
        nonlocal lost
        if subscription.subject.startswith("bp.said.") and message.data == pack_entries([entry(2)]):
            lost += 1
        else:
            take(subscription, message)

    monkeypatch.setattr(Subscription, "take", lossy)
    last = await log.create(session, OWNER, [entry(1)], 60)
    async with aclosing(log.follow(session, 0)) as groups:
        assert await some(groups, 1) == [1]
        last = await log.append(session, [entry(2)], last.sequence)
        await until(lambda: lost, "the announcement to be lost")
        if after == "another one":
            await log.append(session, [entry(3)], last.sequence)
            assert await some(groups, 2) == [2, 3]
        else:
            assert await some(groups, 1) == [2]
    assert lost == 1


async def test_a_large_group_is_a_body_that_goes_with_a_refused_write(
    wiring: Wiring, log: NatsSessionLog, other: NatsSessionLog, session: str
) -> None:
    before = await bodies_of(wiring)
    large = entry(1, value="ü🌴" * LARGE)
    first = await log.create(session, OWNER, [large], 60)
    assert [group.entries for group in await groups_of(other, session)] == [(large,)]
    assert len(await bodies_of(wiring) - before) == 1
    with pytest.raises(ConflictError):
        await log.append(session, [large], first.sequence - 1)
    assert len(await bodies_of(wiring) - before) == 1


@pytest.mark.parametrize("size", [10, 2 * LARGE])
async def test_only_the_newest_snapshot_is_kept(
    size: int, wiring: Wiring, log: NatsSessionLog, other: NatsSessionLog, session: str
) -> None:
    before = await bodies_of(wiring)
    last = await log.create(session, OWNER, [entry(1)], 60)
    assert await log.load_snapshot(session) is None
    for revision in (5, 9, 7):
        await log.save_snapshot(session, Snapshot(revision, last.sequence, b"%d" % revision * size))
    assert await other.load_snapshot(session) == Snapshot(9, last.sequence, b"9" * size)
    assert len(await bodies_of(wiring) - before) == (size > LARGE)


async def test_a_damaged_snapshot_is_none(wiring: Wiring, log: NatsSessionLog, session: str) -> None:
    before = await bodies_of(wiring)
    last = await log.create(session, OWNER, [entry(1)], 60)
    await log.save_snapshot(session, Snapshot(1, last.sequence, b"x" * 2 * LARGE))
    (body,) = await bodies_of(wiring) - before
    await wiring.store.delete(OWNER, body)  # type: ignore[arg-type]
    assert await log.load_snapshot(session) is None
    await log.save_snapshot(session, Snapshot(2, last.sequence, b"whole"))
    assert await log.load_snapshot(session) == Snapshot(2, last.sequence, b"whole")
    names = wiring.connection.names
    await wiring.connection.store(names.session_snapshot_subject(session), b"forged", {"Nats-Rollup": "sub"})
    assert await log.load_snapshot(session) is None


async def test_one_bridge_at_a_time_has_the_lease(log: NatsSessionLog, other: NatsSessionLog, session: str) -> None:
    await log.create(session, OWNER, [entry(1)], 60)
    assert await log.take_lease(session, "one", 60)
    assert not await other.take_lease(session, "two", 60)
    assert await log.take_lease(session, "one", 1)
    await until(lambda: other.take_lease(session, "two", 60), "the lease to expire")
    assert not await log.take_lease(session, "one", 60)


async def test_presence_is_told_to_those_who_hear_and_not_stored(
    log: NatsSessionLog, other: NatsSessionLog, session: str
) -> None:
    heard: list[bytes] = []

    async def hear() -> None:
        async with aclosing(other.hear_presence(session)) as told:
            while True:
                heard.append(await anext(told))

    async def told() -> bool:
        await log.present(session, b"here")
        return bool(heard)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear)
        await until(told, "presence to be heard")
        tasks.cancel_scope.cancel()
    assert set(heard) == {b"here"}
