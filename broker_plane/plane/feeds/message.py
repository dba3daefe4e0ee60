"""What a subscriber receives: a notice, with the means to read its version, apply it once and acknowledge it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from broker_plane.errors import BrokerPlaneError, FeedGapError
from broker_plane.plane.feeds.changes import Changes, Rows, compare_with_rows
from broker_plane.plane.feeds.effects import Effect, SubscriberState
from broker_plane.plane.feeds.ports import DeliveredNotice, DurableCursor
from broker_plane.plane.feeds.version_reader import VersionReader
from broker_plane.wire.feeds import Notice


class FeedMessage:
    """A delivered notice. It is acknowledged when the handler returns or the loop advances, and else redelivered.

    `ack`, `nack` and `in_progress` are for subscribers that decide this themselves; the first ack or nack counts.
    """

    def __init__(
        self,
        delivered: DeliveredNotice,
        cursor: DurableCursor,
        versions: VersionReader,
        state: SubscriberState,
        retry_delay: float,
    ) -> None:
        self.notice: Notice = delivered.notice
        self.attempt = delivered.attempt
        """Number of this delivery attempt, from 1."""

        self.settled = False
        """Whether the message was acknowledged or rejected."""

        self._delivered = delivered
        self._cursor = cursor
        self._versions = versions
        self._state = state
        self.retry_delay = retry_delay
        """Seconds that a nack without `delay` waits."""

        self._advances = False

    @property
    def feed(self) -> str:
        """The feed's name."""
        return self.notice.feed

    @property
    def version(self) -> int:
        """The version that the notice announces."""
        return self.notice.version

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify rows; empty if the feed has no key."""
        return self.notice.key

    async def rows(self) -> Any:
        """Return all rows of the version, or the bytes of an opaque one; verified.

        Raises:
            FeedNotFoundError: the version is no longer retained.
        """
        return await self._versions.rows(self.notice)

    async def changes(self, since: int | None = None, *, had: Rows | None = None) -> Changes:
        """Return the rows that were added, changed and removed since version `since`; since 0, all rows are added.

        Without `since`, the changes since the checkpoint: the version of the last message of this durable that was
        acknowledged after a call of `changes()`. Subscribers that store rows should store their version in the same
        transaction, and pass it here.

        `had` are the rows (a list, or a dict by key) that the subscriber has: if version `since` is no longer retained,
        the version is compared with them.

        Raises:
            FeedNotFoundError: the version is no longer retained.
            FeedGapError: `since` is no longer retained either, and `had` was not given.
        """
        if since is None:
            self._advances = True
            since = await self._state.checkpoint()
        try:
            return await self._versions.changes(self.notice, since)
        except FeedGapError:
            if had is None:
                raise
        return compare_with_rows(self.notice, await self._versions.rows(self.notice), since, had)

    def once(self, key: str) -> AbstractAsyncContextManager[Effect]:
        """Apply an effect at most once for each notice: `async with message.once(key) as effect:`.

        `key` is an idempotency key. `effect.fresh` is False if this notice was applied under it before; `effect.value`
        is stored together with that fact when the block ends without an error.
        """
        return self._state.once(key, self.notice.sequence)

    async def ack(self) -> None:
        """Acknowledge the message now, after its checkpoint. Idempotent.

        Raises:
            BrokerUnavailableError: not acknowledged; the message is redelivered unless you try again.
        """
        if self.settled:
            return
        if self._advances:
            await self._state.advance(self.version)
        await self._cursor.ack(self._delivered)
        self.settled = True

    async def nack(self, delay: float | None = None) -> None:
        """Reject the message: it is redelivered after `delay` seconds (None: as the retry schedule says). Idempotent.

        A message that is rejected in its last attempt becomes a dead letter when it is redelivered.
        """
        if self.settled:
            return
        self.settled = True  # at once: a report of progress after the nack would postpone the redelivery
        await self._cursor.nack(self._delivered, self.retry_delay if delay is None else delay)

    async def in_progress(self) -> None:
        """Restart the timer of `ack_seconds`. While a handler or a loop's body runs this is done automatically."""
        if not self.settled:
            await self._cursor.in_progress(self._delivered)


@asynccontextmanager
async def keep_in_progress(report: Callable[[], Awaitable[None]], ack_seconds: float) -> AsyncIterator[None]:
    """Call `report` every third of `ack_seconds` for the time of the block."""

    async def reporting() -> None:
        while True:
            await asyncio.sleep(ack_seconds / 3)
            with suppress(BrokerPlaneError):
                await report()

    task = asyncio.create_task(reporting())
    try:
        yield
    finally:
        task.cancel()
