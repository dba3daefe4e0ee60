"""Subscribes to a feed through a durable: every notice in order, at least once (`ports.py`: the life of a delivery)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial

from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError
from broker_plane.plane.feeds.effects import SubscriberState
from broker_plane.plane.feeds.message import FeedMessage, keep_in_progress
from broker_plane.plane.feeds.ports import DeadLetter, DeadLetters, DeliveredNotice, Durable, DurableCursor, Durables
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.plane.feeds.version_reader import VersionReader
from broker_plane.plane.retry import retry_while_retryable

_REQUEST_SECONDS = 30.0
_RECONNECT_SECONDS = 0.1
_RETRY_SECONDS = 20.0

_Handler = Callable[[FeedMessage], Awaitable[object]]


class Subscriber:
    """One subscriber of a durable; several, in one process or in many, may share it."""

    def __init__(
        self,
        durable: Durable,
        durables: Durables,
        letters: DeadLetters | None,
        versions: VersionReader,
        state: SubscriberState,
        schedule: RetrySchedule,
        *,
        now: Callable[[], float],
        spread: Callable[[], float] = random.random,
    ) -> None:
        """`spread` returns numbers from 0 to 1 for the jitter. Without `letters` no notice is given up."""
        self._durable = durable
        self._durables = durables
        self._letters = letters
        self._versions = versions
        self._state = state
        self._schedule = schedule
        self._now = now
        self._spread = spread

    async def messages(self) -> AsyncGenerator[FeedMessage, None]:
        """Yield messages without end. Requesting the next one acknowledges the last; closing the generator nacks it.

        Raises:
            DurableError: the durable was deleted.
        """
        async with aclosing(self._delivered()) as deliveries:
            async for cursor, delivered in deliveries:
                message = self._message(cursor, delivered)
                async with keep_in_progress(message.in_progress, self._durable.ack_seconds):
                    try:
                        yield message
                    except BaseException:  # GeneratorExit: the loop was left, by an error or by a break
                        with suppress(BrokerPlaneError):
                            await message.nack()
                        raise
                    await _ack(message)

    async def run(self, handler: _Handler) -> None:
        """Call `handler` with every message, without end. If it raises, the message is redelivered by the schedule.

        Raises:
            DurableError: the durable was deleted.
        """
        async with aclosing(self._delivered()) as deliveries:
            async for cursor, delivered in deliveries:
                message = self._message(cursor, delivered)
                async with keep_in_progress(message.in_progress, self._durable.ack_seconds):
                    try:
                        await handler(message)
                    except Exception as error:  # noqa: BLE001  # whatever it is, the dead letter records it
                        await self._failed(cursor, delivered, message, error)
                    else:
                        await _ack(message)

    async def _delivered(self) -> AsyncGenerator[tuple[DurableCursor, DeliveredNotice], None]:
        """Yield delivered notices with their cursor. While the broker is unavailable, reconnect."""
        while True:
            try:
                async with self._durables.cursor(self._durable) as cursor:
                    while True:
                        delivered = await cursor.next(_REQUEST_SECONDS)
                        if delivered is not None and not await self._exhausted(cursor, delivered):
                            yield cursor, delivered
            except BrokerUnavailableError:
                await asyncio.sleep(_RECONNECT_SECONDS)

    def _message(self, cursor: DurableCursor, delivered: DeliveredNotice) -> FeedMessage:
        delay = self._schedule.delay_after(delivered.attempt, self._spread())
        return FeedMessage(delivered, cursor, self._versions, self._state, delay)

    async def _exhausted(self, cursor: DurableCursor, delivered: DeliveredNotice) -> bool:
        """Dead-letter a notice that has no attempts left: it killed its subscriber each time, or was rejected."""
        if self._letters is None or delivered.attempt <= self._schedule.max_attempts:
            return False
        await self._dead_letter(self._letters, cursor, delivered, "No subscriber acknowledged it")
        return True

    async def _failed(
        self, cursor: DurableCursor, delivered: DeliveredNotice, message: FeedMessage, error: Exception
    ) -> None:
        if message.settled:
            return
        if self._letters is not None and delivered.attempt >= self._schedule.max_attempts:
            await self._dead_letter(self._letters, cursor, delivered, f"{type(error).__name__}: {error}")
            return
        requested = (error.retry_after or 0.0) if isinstance(error, BrokerPlaneError) else 0.0
        with suppress(BrokerUnavailableError):
            await message.nack(max(requested, message.retry_delay))

    async def _dead_letter(
        self, letters: DeadLetters, cursor: DurableCursor, delivered: DeliveredNotice, error: str
    ) -> None:
        """Store the letter, then acknowledge. An interruption in between leads to a redelivery, and to one letter."""
        letter = DeadLetter(
            id=0,
            at=self._now(),
            durable=self._durable.name,
            notice=delivered.notice,
            attempts=delivered.attempt,
            error=error,
        )
        with suppress(BrokerUnavailableError):
            await retry_while_retryable(partial(letters.add, letter), _RETRY_SECONDS)
            await cursor.ack(delivered)


async def _ack(message: FeedMessage) -> None:
    # If this fails the message is redelivered; the checkpoint and the effect log show that it was applied.
    with suppress(BrokerUnavailableError):
        await message.ack()
