"""The life of a delivery: deliver, ack, nack, in progress, redelivery, dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from broker_plane.config import load_settings
from broker_plane.errors import BrokerUnavailableError, WebhookError
from broker_plane.plane.feeds.effects import SubscriberState
from broker_plane.plane.feeds.message import FeedMessage
from broker_plane.plane.feeds.ports import DeadLetter, DeliveredNotice, Durable
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.plane.feeds.subscriber import Subscriber
from tests.unit.plane.feeds.notices import notice

pytestmark = pytest.mark.anyio
ANY: Any = None
SCHEDULE = RetrySchedule(delays=(1.0, 5.0))


class OverError(Exception):
    """The cursor has no more notices."""


class Cursor:
    """A durable with these delivery attempts, and its cursor; records what the subscriber does with them."""

    def __init__(self, *attempts: int) -> None:
        self.events: list[tuple[str, int, float | None]] = []
        self.reported = asyncio.Event()
        """Set at the third report of progress."""

        self._coming = [
            DeliveredNotice(notice=notice(number), attempt=attempt, ack_subject="")
            for number, attempt in enumerate(attempts, 1)
        ]

    def cursor(self, durable: Durable) -> Any:
        return self

    async def __aenter__(self) -> Cursor:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def next(self, seconds: float) -> DeliveredNotice:
        if not self._coming:
            raise OverError
        return self._coming.pop(0)

    async def ack(self, delivered: DeliveredNotice) -> None:
        self.events.append(("ack", delivered.notice.version, None))

    async def nack(self, delivered: DeliveredNotice, delay: float) -> None:
        self.events.append(("nack", delivered.notice.version, delay))

    async def in_progress(self, delivered: DeliveredNotice) -> None:
        self.events.append(("in progress", delivered.notice.version, None))
        if len(self.events) == 3:
            self.reported.set()


class Letters:
    """The part of DeadLetters that a subscriber uses; fails the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.stored: list[DeadLetter] = []
        self._failures = failures

    async def add(self, letter: DeadLetter) -> None:
        if self._failures:
            self._failures -= 1
            raise BrokerUnavailableError("unavailable")
        self.stored.append(letter)


def subscriber(
    cursor: Cursor, letters: Letters | None, schedule: RetrySchedule = SCHEDULE, ack_seconds: float = 30.0
) -> Subscriber:
    durables: Any = cursor
    durable = Durable(name="email", feed="crm.contacts", ack_seconds=ack_seconds)
    found: Any = letters
    state = SubscriberState(None, "email")
    return Subscriber(durable, durables, found, ANY, state, schedule, now=lambda: 7.0, spread=lambda: 0.0)


async def run(cursor: Cursor, letters: Letters | None, handler: Any, schedule: RetrySchedule = SCHEDULE) -> None:
    with suppress(OverError):
        await subscriber(cursor, letters, schedule).run(handler)


async def accepts(message: FeedMessage) -> None:
    pass


async def fails(message: FeedMessage) -> None:
    raise ValueError("no such mailbox")


async def acks_and_fails(message: FeedMessage) -> None:
    await message.ack()
    raise ValueError("afterwards")


async def nacks(message: FeedMessage) -> None:
    await message.nack()


async def nacks_for_a_minute(message: FeedMessage) -> None:
    await message.nack(60.0)
    await message.nack(1.0)
    await message.ack()


@pytest.mark.parametrize(
    ("attempt", "handler", "events", "letters"),
    [
        (1, accepts, [("ack", 1, None)], []),
        (3, accepts, [("ack", 1, None)], []),
        (1, fails, [("nack", 1, 1.0)], []),
        (2, fails, [("nack", 1, 5.0)], []),
        (3, fails, [("ack", 1, None)], ["ValueError: no such mailbox"]),
        (4, accepts, [("ack", 1, None)], ["No subscriber acknowledged it"]),  # it killed its subscriber each time
        (1, acks_and_fails, [("ack", 1, None)], []),
        (1, nacks, [("nack", 1, 1.0)], []),
        (2, nacks, [("nack", 1, 5.0)], []),
        (3, nacks, [("nack", 1, 5.0)], []),
        (4, nacks, [("ack", 1, None)], ["No subscriber acknowledged it"]),
        (1, nacks_for_a_minute, [("nack", 1, 60.0)], []),
    ],
)
async def test_what_becomes_of_a_delivery(
    attempt: int, handler: Any, events: list[tuple[str, int, float | None]], letters: list[str]
) -> None:
    cursor, stored = Cursor(attempt), Letters()
    await run(cursor, stored, handler)
    assert cursor.events == events
    assert [letter.error for letter in stored.stored] == letters
    assert all(letter.attempts == attempt and letter.at == 7.0 for letter in stored.stored)


@pytest.mark.parametrize("attempt", [3, 4, 99])
async def test_without_dead_letters_a_notice_is_redelivered_for_ever(attempt: int) -> None:
    cursor = Cursor(attempt)
    await run(cursor, None, fails)
    assert cursor.events == [("nack", 1, 5.0)]


async def test_a_letter_is_stored_before_the_notice_is_acknowledged() -> None:
    cursor, letters = Cursor(3), Letters(failures=2)
    await run(cursor, letters, fails)
    assert len(letters.stored) == 1
    assert cursor.events == [("ack", 1, None)]


@pytest.mark.parametrize(
    ("attempt", "retry_after", "delay"),
    [(1, None, 5.0), (2, None, 300.0), (3, None, 1800.0), (1, 60.0, 60.0), (2, 60.0, 300.0), (9, None, 86400.0)],
)
async def test_a_webhook_is_sent_again_by_the_schedule_or_later_if_its_receiver_says_so(
    attempt: int, retry_after: float | None, delay: float
) -> None:
    async def refused(message: FeedMessage) -> None:
        raise WebhookError("no", retry_after=retry_after)

    cursor = Cursor(attempt)
    schedule = RetrySchedule(delays=tuple(map(float, load_settings().webhook_retry_delays_seconds.split(","))))
    await run(cursor, Letters(), refused, schedule)
    assert cursor.events == [("nack", 1, delay)]


async def test_while_a_handler_runs_its_notice_is_in_progress_until_it_is_acknowledged() -> None:
    cursor = Cursor(1)

    async def slow(message: FeedMessage) -> None:
        await cursor.reported.wait()
        await message.ack()
        await message.in_progress()

    with suppress(OverError):
        await subscriber(cursor, Letters(), ack_seconds=0.03).run(slow)
    assert cursor.events == [("in progress", 1, None)] * 3 + [("ack", 1, None)]


async def test_a_loop_acknowledges_when_it_advances_and_rejects_when_it_is_left() -> None:
    cursor = Cursor(1, 2, 1)
    messages: AsyncGenerator[FeedMessage, None] = subscriber(cursor, Letters()).messages()
    async with aclosing(messages):
        await anext(messages)
        assert cursor.events == []
        await anext(messages)
        assert cursor.events == [("ack", 1, None)]
    assert cursor.events[1:] == [("nack", 2, 5.0)]


async def test_the_checkpoint_advances_with_the_acknowledgement_of_what_asked_for_changes() -> None:
    class Versions:
        async def changes(self, notice: Any, since: int) -> int:
            return since

    state, versions, cursor = SubscriberState(None, "email"), Versions(), Cursor()
    reader: Any = versions
    ends: Any = cursor
    for version, asks in ((1, True), (2, False), (3, True)):
        delivered = DeliveredNotice(notice=notice(version), attempt=1, ack_subject="")
        message = FeedMessage(delivered, ends, reader, state, 1.0)
        if asks:
            await message.changes()
        await message.ack()
    assert await state.checkpoint() == 3
    old = FeedMessage(DeliveredNotice(notice=notice(2), attempt=2, ack_subject=""), ends, reader, state, 1.0)
    since: Any = await old.changes()
    assert since == 3
    await old.ack()
    assert await state.checkpoint() == 3, "a redelivered older notice moves nothing back"
