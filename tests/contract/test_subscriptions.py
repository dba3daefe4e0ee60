"""Durable subscriptions: in order, until taken, given up after too many tries; state kept with what led to it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest

from broker_plane import Plane
from broker_plane.errors import DurableError
from broker_plane.plane.feeds.effects import Checkpoint
from broker_plane.plane.feeds.message import FeedMessage
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.testing.server import eventually

pytestmark = pytest.mark.anyio
AT_ONCE = RetrySchedule(delays=(0.0, 0.0))


@pytest.fixture
def durable() -> str:
    return f"email_{uuid4().hex}"


async def publish(plane: Plane, feed: str, *values: Any) -> None:
    for value in values:
        await plane.publish([{"id": 1, "n": value}], feed=feed, key="id")


async def take(plane: Plane, feed: str, count: int, **options: Any) -> list[int]:
    """The versions of the next `count` notices, all of which are taken."""
    taken: list[int] = []
    async with aclosing(plane.subscribe(feed, retries=AT_ONCE, **options)) as messages:
        async for message in messages:
            if len(taken) == count:
                return taken
            taken.append(message.version)
            if len(taken) == count:
                await publish(plane, feed, uuid4().hex)  # so that the loop goes on, and takes the last one
    raise AssertionError


async def test_a_durable_goes_on_where_it_was(plane: Plane, feed: str, durable: str) -> None:
    await publish(plane, feed, "a", "b", "c")
    assert await take(plane, feed, 2, durable=durable, since="first") == [1, 2]
    assert await take(plane, feed, 2, durable=durable) == [3, 4]


@pytest.mark.parametrize(("since", "first"), [("first", 1), ("last", 3), (2, 2), ("new", 4), (0.0, 1)])
async def test_a_new_durable_begins_where_it_is_told(
    plane: Plane, feed: str, durable: str, since: Any, first: int
) -> None:
    await publish(plane, feed, "a", "b", "c")
    async with aclosing(plane.subscribe(feed, durable=durable, since=since)) as messages:
        asked = asyncio.ensure_future(anext(messages))
        if since == "new":
            await eventually(lambda: _exists(plane, durable))
            await publish(plane, feed, "d")
        assert (await asked).version == first


async def _exists(plane: Plane, durable: str) -> bool:
    return durable in await plane.feeds.durables()


async def test_a_durable_waits_for_a_feed_that_has_no_version_yet(plane: Plane, feed: str, durable: str) -> None:
    async with aclosing(plane.subscribe(feed, durable=durable)) as messages:
        asked = asyncio.ensure_future(anext(messages))
        await publish(plane, feed, "a")
        assert (await asked).version == 1


async def test_a_durable_has_one_feed(plane: Plane, feed: str, durable: str) -> None:
    await publish(plane, feed, "a", "b")
    assert await take(plane, feed, 1, durable=durable) == [2]
    with pytest.raises(DurableError, match="another feed"):
        await take(plane, "other", 1, durable=durable)


async def test_a_loop_that_broke_gets_the_notice_again(plane: Plane, feed: str, durable: str) -> None:
    await publish(plane, feed, "a")
    with pytest.raises(ZeroDivisionError):
        async for message in plane.subscribe(feed, durable=durable, retries=AT_ONCE):
            assert message.attempt == 1
            raise ZeroDivisionError
    async with aclosing(plane.subscribe(feed, durable=durable, retries=AT_ONCE)) as messages:
        again = await anext(messages)
    assert (again.version, again.attempt) == (1, 2)


async def test_changes_lead_from_what_was_taken_to_now(plane: Plane, feed: str, durable: str) -> None:
    """Also over a notice that failed, and for one that comes again although it was taken."""
    table: dict[Any, Any] = {}
    seen: list[tuple[int, int, bool]] = []
    rows = [{"id": number, "n": uuid4().hex} for number in range(50)]
    done = asyncio.Event()

    async def handle(message: FeedMessage) -> None:
        changes = await message.changes()
        seen.append((changes.since, changes.version, changes.whole))
        if changes.version == 2:
            raise ZeroDivisionError
        changes.apply(table)
        if changes.version == 3:
            done.set()

    for number in range(3):
        rows[number] = {"id": number, "n": "changed"}
        await plane.publish(rows, feed=feed, key="id")
    once = RetrySchedule(delays=())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(plane.on_notice(feed, handle, durable=durable, since="first", retries=once))
        await asyncio.wait_for(done.wait(), 20)
        running.cancel()
    assert seen == [(0, 1, True), (1, 2, False), (1, 3, False)]
    assert list(table.values()) == rows


async def test_what_fails_too_often_is_a_dead_letter_that_can_be_replayed(
    plane: Plane, feed: str, durable: str
) -> None:
    await publish(plane, feed, "a", "b")
    tried: list[tuple[int, int]] = []
    broken = True

    async def handle(message: FeedMessage) -> None:
        tried.append((message.version, message.attempt))
        if broken and message.version == 1:
            raise ValueError("no such mailbox")

    running = asyncio.create_task(plane.on_notice(feed, handle, durable=durable, since="first", retries=AT_ONCE))
    try:
        await eventually(lambda: _is(lambda: (2, 1) in tried))
        assert tried == [(1, 1), (1, 2), (1, 3), (2, 1)]
        (letter,) = await plane.feeds.dead_letters(durable)
        assert (letter.notice.version, letter.attempts, letter.error) == (1, 3, "ValueError: no such mailbox")
        broken = False
        assert [replayed.id for replayed in await plane.feeds.replay([letter.id])] == [letter.id]
        await eventually(lambda: _is(lambda: tried[4:] == [(1, 1)]))
        assert await plane.feeds.dead_letters(durable) == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _is(condition: Any) -> bool:
    return bool(condition())


async def test_what_ends_its_subscriber_each_time_is_a_dead_letter_too(plane: Plane, feed: str, durable: str) -> None:
    await publish(plane, feed, "a", "b")
    options: Any = {"durable": durable, "since": "first", "retries": AT_ONCE}
    for _ in range(3):
        async with aclosing(plane.subscribe(feed, **options)) as messages:
            assert (await anext(messages)).version == 1
    async with aclosing(plane.subscribe(feed, **options)) as messages:
        assert (await anext(messages)).version == 2
    (letter,) = await plane.feeds.dead_letters(durable)
    assert letter.notice.version == 1


async def test_subscribers_that_share_a_durable_take_each_notice_once_and_in_order(
    plane: Plane, feed: str, durable: str
) -> None:
    count = 30
    taken: list[tuple[str, int]] = []
    under_way = most = 0

    def worker(name: str) -> Any:
        async def handle(message: FeedMessage) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await message.rows()
            taken.append((name, message.version))
            under_way -= 1

        return plane.on_notice(feed, handle, durable=durable, since="first")

    await publish(plane, feed, *range(count))
    workers = [asyncio.create_task(worker(name)) for name in "abc"]
    try:
        await eventually(lambda: _is(lambda: len(taken) == count))
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    assert [version for _, version in taken] == list(range(1, count + 1))
    assert len({name for name, _ in taken}) > 1
    assert most == 1


async def test_an_effect_is_kept_once_and_with_its_notice(plane: Plane, feed: str, durable: str) -> None:
    await publish(plane, feed, "a")
    for _ in range(3):  # the same notice, delivered again and again
        async with aclosing(
            plane.subscribe(feed, durable=durable, retries=RetrySchedule(delays=(0.0,) * 9))
        ) as messages:
            message = await anext(messages)
            async with message.once("contact-1") as effect:
                effect.value = (effect.value or 0) + 1
    assert message.attempt == 3
    async with message.once("contact-1") as effect:
        assert (effect.fresh, effect.value) == (False, 1)
    with pytest.raises(ZeroDivisionError):
        async with message.once("contact-2") as effect:
            effect.value = "half"
            raise ZeroDivisionError
    async with message.once("contact-2") as effect:
        assert (effect.fresh, effect.value) == (True, None)


async def test_of_two_at_the_same_effect_one_is_kept(plane: Plane, feed: str, durable: str) -> None:
    await publish(plane, feed, "a")
    async with aclosing(plane.subscribe(feed, durable=durable)) as messages:
        message = await anext(messages)
        async with message.once("key") as slow:
            async with message.once("key") as fast:
                fast.value = "fast"
            slow.value = "slow"
        async with message.once("key") as effect:
            assert (effect.fresh, effect.value) == (False, "fast")


async def test_a_notice_that_comes_again_after_later_ones_takes_nothing_back(
    plane: Plane, feed: str, durable: str
) -> None:
    await publish(plane, feed, "a", "b", "c")
    async with aclosing(plane.subscribe(feed, durable=durable, since="first")) as messages:
        old = await anext(messages)
        await anext(messages)
        assert len((await (await anext(messages)).changes()).delta) == 1
        await anext_is_asked_for(messages, plane, feed)
    again = await old.changes()
    assert (again.since, again.whole, len(again.delta)) == (3, False, 0)
    await Checkpoint(plane.feeds.adapters.entries, durable).save(old.version)
    assert (await old.changes()).since == 3


async def anext_is_asked_for(messages: Any, plane: Plane, feed: str) -> None:
    """What came last is taken."""
    await publish(plane, feed, uuid4().hex)
    await anext(messages)


async def test_a_subscriber_may_ack_nack_and_report_progress_itself(plane: Plane, feed: str, durable: str) -> None:
    await publish(plane, feed, "a", "b")
    attempts: list[tuple[int, int]] = []
    async with aclosing(plane.subscribe(feed, durable=durable, since="first")) as messages:
        async for message in messages:
            attempts.append((message.version, message.attempt))
            await message.in_progress()
            if attempts == [(1, 1)]:
                await message.nack(0.0)
            elif message.version == 1:
                await message.ack()
            else:
                break
    assert attempts == [(1, 1), (1, 2), (2, 1)]
    assert await take(plane, feed, 1, durable=durable) == [2]
