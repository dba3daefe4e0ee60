"""Subscribing: notices in order, each until it is taken, given up after too many tries, and never lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, FeedGapError, NotPermittedError
from broker_plane.plane.feeds.changes import Changes, Rows, Versioned, compared_with
from broker_plane.plane.feeds.effects import Effect, Ledger, Position
from broker_plane.plane.feeds.ports import DeadLetter, DeadLetters, Delivered, Durable, Durables, Entries, Session
from broker_plane.plane.retry import patiently
from broker_plane.wire.feeds import Notice

_ASK_SECONDS = 30.0
_AWAY_SECONDS = 0.1
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """How often a notice is delivered, and after how many seconds again; then it is a dead letter."""

    schedule: tuple[float, ...] = (1.0, 5.0, 30.0, 120.0, 600.0)
    jitter: float = 0.0
    """At most so much of the wait is added to it, so that not all come at once."""

    @property
    def most(self) -> int:
        return len(self.schedule) + 1

    def wait(self, times: int) -> float:
        """Seconds after delivery number `times` failed."""
        wait = self.schedule[min(times, len(self.schedule)) - 1] if self.schedule else 0.0
        return wait * (1.0 + self.jitter * random.random())  # noqa: S311  # spreads load, and is no secret


class Arrival:
    """A notice in the hand of a subscriber. It is taken when the loop goes on, and comes again when the loop breaks."""

    def __init__(self, delivered: Delivered, versions: Versioned, keeping: Keeping) -> None:
        self.notice: Notice = delivered.notice
        self.times = delivered.times
        """Deliveries of it, this one included."""
        self._versions = versions
        self._keeping = keeping
        self._moves = False

    @property
    def feed(self) -> str:
        return self.notice.feed

    @property
    def version(self) -> int:
        return self.notice.version

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that tell rows apart; empty where the feed has none."""
        return self.notice.key

    async def rows(self) -> Any:
        """All rows of the version, or the bytes of an opaque one; verified.

        Raises:
            FeedNotFoundError: retention took it.
        """
        return await self._versions.rows(self.notice)

    async def changes(self, since: int | None = None, *, had: Rows | None = None) -> Changes:
        """What was added, changed and removed since version `since`; since 0, where nothing was there, all is added.

        Without `since` it is the version that this durable took last with `changes()`. Subscribers that keep rows of
        their own should keep their version in the same transaction and name it here. `had` are these rows (a list, or
        a dict by key), for when the plane does not know any more what version `since` was: they are compared then.

        Raises:
            FeedNotFoundError: retention took the version.
            FeedGapError: it took `since` too, so that nobody knows, and `had` was not given.
        """
        if since is None:
            self._moves = True
            since = await self._keeping.position()
        try:
            return await self._versions.changes(self.notice, since)
        except FeedGapError:
            if had is None:
                raise
        return compared_with(self.notice, await self._versions.rows(self.notice), since, had)

    def once(self, key: str) -> AbstractAsyncContextManager[Effect]:
        """`async with notice.once(key) as effect:` what is left in `effect.value` is kept once for this notice."""
        return self._keeping.once(key, self.notice.sequence)

    async def settle(self) -> None:
        """What this arrival moved is kept; before the notice counts as taken."""
        if self._moves:
            await self._keeping.moved(self.version)


class Keeping:
    """What a durable keeps besides its place in the stream. Guests have no rights to keep anything."""

    def __init__(self, entries: Entries | None, durable: str) -> None:
        self._ledger = Ledger(entries, durable) if entries else None
        self._position = Position(entries, durable) if entries else None
        self._here = 0

    async def position(self) -> int:
        return await self._position.load() if self._position else self._here

    async def moved(self, version: int) -> None:
        self._here = max(self._here, version)
        if self._position:
            await self._position.save(version)

    def once(self, key: str, sequence: int) -> AbstractAsyncContextManager[Effect]:
        if self._ledger is None:
            raise NotPermittedError(
                "A guest keeps nothing in the plane; keep the notice's version beside your own data"
            )
        return self._ledger.once(key, sequence)


class Subscriber:
    """One subscriber of a durable; several may share it, in one process or in many."""

    def __init__(
        self,
        durable: Durable,
        durables: Durables,
        letters: DeadLetters | None,
        versions: Versioned,
        keeping: Keeping,
        tries: Tries,
        *,
        now: Callable[[], float],
    ) -> None:
        self._durable = durable
        self._durables = durables
        self._letters = letters
        self._versions = versions
        self._keeping = keeping
        self._tries = tries
        self._now = now

    async def arrivals(self) -> AsyncGenerator[Arrival, None]:
        """Notices, for ever. One is taken when the next one is asked for; where the loop ends, it comes again.

        Raises:
            DurableError: the durable was removed.
        """
        async with aclosing(self._delivered()) as deliveries:
            async for session, delivered in deliveries:
                arrival = Arrival(delivered, self._versions, self._keeping)
                async with still(session, delivered, self._durable):
                    try:
                        yield arrival
                    except BaseException:  # GeneratorExit: the loop was left, by an error or by a break
                        with suppress(BrokerPlaneError):
                            await session.again(delivered, self._tries.wait(delivered.times))
                        raise
                    await self._take(session, delivered, arrival)

    async def each(self, handle: Callable[[Arrival], Awaitable[object]]) -> None:
        """Call `handle` with every notice, for ever. Where it raises, the notice comes again by the schedule.

        Raises:
            DurableError: the durable was removed.
        """
        async with aclosing(self._delivered()) as deliveries:
            async for session, delivered in deliveries:
                arrival = Arrival(delivered, self._versions, self._keeping)
                async with still(session, delivered, self._durable):
                    try:
                        await handle(arrival)
                    except Exception as error:  # noqa: BLE001  # whatever it is, it goes into the letter
                        await self._failed(session, delivered, error)
                    else:
                        await self._take(session, delivered, arrival)

    async def _delivered(self) -> AsyncGenerator[tuple[Session, Delivered], None]:
        """Notices that are to be tried, with the session in which they came."""
        while True:
            try:
                async with self._durables.session(self._durable) as session:
                    while True:
                        delivered = await session.next(_ASK_SECONDS)
                        if delivered is None:
                            continue
                        # Also what killed its subscriber each time comes to an end here.
                        if delivered.times > self._tries.most and self._letters is not None:
                            await self._bury(session, delivered, "Its subscribers did not take it")
                            continue
                        yield session, delivered
            except BrokerUnavailableError:
                await asyncio.sleep(_AWAY_SECONDS)

    async def _take(self, session: Session, delivered: Delivered, arrival: Arrival) -> None:
        # Where this fails, the notice comes again, and what is kept by key says that it was applied.
        with suppress(BrokerUnavailableError):
            await arrival.settle()
            await session.done(delivered)

    async def _failed(self, session: Session, delivered: Delivered, error: Exception) -> None:
        if delivered.times >= self._tries.most and self._letters is not None:
            await self._bury(session, delivered, f"{type(error).__name__}: {error}")
            return
        asked = (error.retry_after or 0.0) if isinstance(error, BrokerPlaneError) else 0.0
        with suppress(BrokerUnavailableError):
            await session.again(delivered, max(asked, self._tries.wait(delivered.times)))

    async def _bury(self, session: Session, delivered: Delivered, error: str) -> None:
        """First the letter, then the acknowledgement: broken off in between, there is a second try and one letter."""
        assert self._letters is not None  # noqa: S101  # for the type checker: callers looked
        letter = DeadLetter(
            id=0,
            at=self._now(),
            durable=self._durable.name,
            notice=delivered.notice,
            times=delivered.times,
            error=error,
        )
        with suppress(BrokerUnavailableError):
            await patiently(partial(self._letters.add, letter), _PATIENCE_SECONDS)
            await session.done(delivered)


@asynccontextmanager
async def still(session: Session, delivered: Delivered | None, durable: Durable) -> AsyncIterator[None]:
    """Say that `delivered`, if there is one, is under way for as long as the block runs."""

    async def saying(under_way: Delivered) -> None:
        while True:
            await asyncio.sleep(durable.ack_seconds / 3)
            with suppress(BrokerPlaneError):
                await session.still(under_way)

    task = None if delivered is None else asyncio.create_task(saying(delivered))
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
