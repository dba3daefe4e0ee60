"""The writer of one session in one process: requests are decided one after another and stored as groups.

Requests that arrive while a write is under way are decided together, and stored by the next write. If another process
was faster, they are decided again on what it has stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    ConflictError,
    NotValidError,
    RateLimitedError,
    SessionNotFoundError,
)
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.sessions.closing import Closing
from broker_plane.plane.sessions.deciding import Decider
from broker_plane.plane.sessions.ports import SessionLog
from broker_plane.plane.sessions.tip import Tip
from broker_plane.sessions.decisions import Decision
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.requests import CloseRequest, Request, UpdateRequest

log = redacted_logger(__name__)

MOST_WAITING: Final = 1_024
_MOST_ENTRIES: Final = 256
"""Entries of a group, from which on it takes no further request."""

_DECIDING_SECONDS: Final = 0.02
"""Computing time of a group, from which on it takes no further request: others on this event loop wait as well."""

_UNKNOWN_SECONDS: Final = 10.0
"""How long requests wait for a broker that does not answer."""

_RETRY_SECONDS: Final = 0.1


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits for its answer."""

    request: Request
    who: Participant
    answer: asyncio.Future[Decision]
    decision: Decision | None = None
    refused: NotValidError | None = None

    def stored(self) -> None:
        """What was decided is stored."""
        if self.answer.done():
            return
        if self.refused is not None:
            self.answer.set_exception(self.refused)
        elif self.decision is not None:
            self.answer.set_result(self.decision)

    def refuse(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A group whose write was refused, or got no answer."""

    after: int
    entries: tuple[Entry, ...]
    decided: Sequence[tuple[_Waiting, Decision, NotValidError | None]]


class GroupWriter:
    """Writes for one session. Hold `turn` to read or change the tip."""

    def __init__(self, session: str, tip: Tip, log: SessionLog, decider: Decider, closing: Closing) -> None:
        self.turn = asyncio.Lock()
        self._session = session
        self._tip = tip
        self._log = log
        self._decider = decider
        self._closing = closing
        self._queue: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._ended: BrokerPlaneError | None = None

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[Folded]:
        """The session at a moment when everything in it is stored."""
        async with self.turn:
            self._check_ended()
            yield self._tip.folded

    async def submit(self, request: Request, who: Participant) -> Decision:
        """Decide a request and store what it leads to. Raises as `LiveSession.submit`."""
        self._check_ended()
        if len(self._queue) >= MOST_WAITING:
            raise RateLimitedError("Too many requests wait in this session; try again", retry_after=1)
        waiting = _Waiting(request, who, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def run(self) -> None:
        """Write what is submitted, until cancelled.

        Raises:
            SessionNotFoundError: the session has expired. SessionError: its log cannot be folded.
        """
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._queue = self._queue, []
            try:
                async with self.turn:
                    await self._write(batch)
            except BaseException:
                self._queue = batch + self._queue  # `end` answers them
                raise

    def end(self, error: BrokerPlaneError) -> None:
        """Refuse what waits, and everything from now on."""
        self._ended = error
        for waiting in self._queue:
            waiting.refuse(error)
        self._queue = []

    @property
    def has_ended(self) -> bool:
        return self._ended is not None

    def _check_ended(self) -> None:
        if self._ended is not None:
            raise self._ended

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        """Answer every request of a batch."""
        attempts: list[_Attempt] = []
        until = 0.0
        while left := [each for each in batch if not each.answer.done()]:
            decided = await self._decide(left)
            if not self._tip.drafts:
                await self._answer(decided)
                continue
            error = await self._store(decided, attempts)
            if error is None:
                continue
            until = until or monotonic() + _UNKNOWN_SECONDS
            if not await self._catch_up(attempts, until):
                for each in batch:
                    each.refuse(error)
        if self._tip.is_ahead:
            await self._tip.rebuild()

    async def _decide(self, left: Sequence[_Waiting]) -> list[_Waiting]:
        """Decide requests until there are enough for a group. Those that are refused are answered."""
        decided: list[_Waiting] = []
        until = monotonic() + _DECIDING_SECONDS
        for each in left:
            if self._tip.is_spoiled or (self._tip.is_ahead and not isinstance(each.request, UpdateRequest)):
                if self._tip.drafts:
                    break
                await self._tip.rebuild()
            try:
                each.decision = await self._decider.decide(each.request, each.who)
            except Exception as error:  # noqa: BLE001  # whatever a request does to the rules, it is that request's
                if not self._tip.is_ahead:
                    each.refuse(error)
                    continue
                if self._tip.drafts:  # it is decided again after those
                    break
                await self._tip.rebuild()
                return decided
            try:
                each.refused = await self._decider.draft(each.decision)
            except Exception as error:  # noqa: BLE001
                each.refuse(error)
                return []
            decided.append(each)
            if self._is_full(each.decision) or monotonic() > until:
                break
        return decided

    def _is_full(self, newest: Decision) -> bool:
        """Whether the group takes no further request: nothing comes between the last confirmation and the end."""
        drafts = self._tip.drafts
        return len(drafts) >= _MOST_ENTRIES or newest.closing is not None or bool(self._decider.validates and drafts)

    async def _store(self, decided: list[_Waiting], attempts: list[_Attempt]) -> BrokerPlaneError | None:
        """Store the drafts and answer who waits for them; returns the error if they may have to be decided again."""
        entries, after = tuple(self._tip.drafts), self._tip.sequence
        try:
            group = await self._log.append(self._session, entries, after)
        except (ConflictError, BrokerUnavailableError) as error:
            self._tip.take_back()
            made = [(each, each.decision, each.refused) for each in decided if each.decision is not None]
            attempts.append(_Attempt(after, entries, made))
            return error
        except BrokerPlaneError as error:  # the store is full, for example
            self._tip.take_back()
            for each in decided:
                each.refuse(error)
            if isinstance(error, SessionNotFoundError):
                raise
            return None
        self._tip.confirm(group)
        await self._answer(decided)
        return None

    async def _catch_up(self, attempts: Sequence[_Attempt], until: float) -> bool:
        """Read what was stored meanwhile, and answer what is stored after all; False if the broker does not answer."""
        while True:
            try:
                await self._tip.catch_up()
                break
            except BrokerUnavailableError:
                if monotonic() > until:
                    return False
                await asyncio.sleep(_RETRY_SECONDS)
        for attempt in attempts:
            if self._tip.has(attempt.entries, attempt.after):
                for each, decision, refused in attempt.decided:
                    each.decision, each.refused = decision, refused
                await self._answer([each for each, _, _ in attempt.decided])
        return True

    async def _answer(self, decided: Sequence[_Waiting]) -> None:
        """Answer requests whose entries are stored, and close the session if one of them asks for that."""
        for each in decided:
            decision = each.decision
            if decision is not None and decision.closing is not None:
                try:
                    more = await self._closing.close(decision.closing, by_owner=each.who.is_owner)
                    each.decision = replace(decision, answer={**decision.answer, **more})
                except BrokerPlaneError as error:
                    log.warning("A session could not be closed (%s); it is tried again", error.brief)
                    if isinstance(each.request, CloseRequest):
                        each.refuse(error)
            each.stored()
