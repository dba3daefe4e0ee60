"""One attempt to carry out a request: its messages are numbered, stored, and then passed on.

A message counts once it is stored, on condition that it is the next one. So a process that was taken for dead says
nothing more after another one has gone on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from math import ceil
from typing import TypeVar

from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    ConflictError,
    StorageError,
    StoreFullError,
    TooLargeError,
    UpstreamError,
)
from broker_plane.exchange.lines import error_answer, outline, with_key
from broker_plane.exchange.messages import Said
from broker_plane.exchange.progress import ProgressFilter
from broker_plane.exchange.retries import BackOff
from broker_plane.plane.exchanges.isolation import Isolation
from broker_plane.plane.exchanges.limits import (
    DEFAULT_SECONDS,
    KEPT_SECONDS,
    MAX_ATTEMPTS,
    MAX_SECONDS,
    SUSPECT_ATTEMPTS,
)
from broker_plane.plane.exchanges.ports import Asked, Claim, ExchangeStore, HandOver, Relay, Run
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.wire.json_rpc import INTERNAL_ERROR

log = redacted_logger(__name__)
T = TypeVar("T")

CANCELLED, STOPPED = "cancelled", "stopped"
_BROKER_WAITS = BackOff(first_seconds=0.05, longest_seconds=1.0, jitter=0.0)
SERVER_WAITS = BackOff(first_seconds=0.5, longest_seconds=5.0, jitter=0.0)
_REPORTED_TRIES = 6
_RELAY_SECONDS = 5.0
_LONGER_SECONDS = 60
"""Messages outlive their request, which without them would be carried out again."""


class _FailedError(Exception):
    """The request is answered with an error of this code (in `error.data`) and text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class _GivenBackError(Exception):
    """Somebody else goes on, after `seconds`."""

    def __init__(self, seconds: float = 0.0, *, excused: bool = False) -> None:
        super().__init__()
        self.seconds = seconds
        self.excused = excused


class ExchangeRun:
    """An attempt to carry out one claimed request."""

    def __init__(
        self,
        asked: Asked,
        claim: Claim,
        store: ExchangeStore,
        run: Run,
        relay: Relay,
        *,
        now: Callable[[], float],
        server_waits: BackOff,
        hand_over: HandOver | None = None,
        isolation: Isolation | None = None,
    ) -> None:
        """`now` is in unix seconds of the broker."""
        self.asked = asked
        self.claim = claim
        """The newest claim of this request by this process."""
        self._store = store
        self._run = run
        self._relay = relay
        self._now = now
        self._server_waits = server_waits
        self._hand_over = hand_over
        self._isolation = isolation or Isolation()
        self.handed_over = False
        """Whether the caller has the answer, which is not stored."""
        self._deadline = deadline_of(asked)
        self._attempt = asked.attempt
        self._seq = 0
        self._progress = ProgressFilter()
        self._interruption = ""
        self._reading: asyncio.Timeout | None = None

    def interrupt(self, why: str) -> None:
        """End the attempt after the message that is being stored."""
        self._interruption = self._interruption or why
        if self._reading is not None and not self._reading.expired():
            self._reading.reschedule(0)

    async def alive(self) -> None:
        """Tell the caller that its request still runs."""
        await self._passed_on(self._relay.alive(self.asked))

    async def work(self, *, fresh: bool) -> None:
        """Answer the request, unless another process does. `fresh`: nobody has said anything about it yet."""
        try:
            await self._answer(fresh=fresh)
        except ConflictError:
            if not await self._is_answered():
                log.debug("Another process goes on with an exchange of %s", self.asked.key.server)
                await self._excuse()
                return
        except _GivenBackError as given:
            await self._give_back(given)
            return
        except StorageError as error:  # the lease ends, and then somebody goes on
            log.warning("An exchange of %s is interrupted: %s", self.asked.key.server, error)
            return
        finally:
            self._isolation.end(self)
            self._store.leave(self.asked.key)
        await self._finish()

    async def _answer(self, *, fresh: bool) -> None:
        before = [] if fresh else await self._retried(lambda: self._store.messages(self.asked.key))
        if before and before[-1].last:  # by a process that ended before it could pass it on, or finish
            await self._passed_on(self._relay.said(self.asked, before[-1]))
            return
        for said in before:
            self._progress.is_news(outline(said.line))
            self._seq = said.seq
        try:
            await self._check()
            await self._say_all()
        except _FailedError as failure:
            key = outline(self.asked.line).id
            await self._say(error_answer(key, INTERNAL_ERROR, str(failure), {"code": failure.code}), last=True)

    async def _check(self) -> None:
        """Raise if the request must not be carried out (any more)."""
        self._check_interruption()
        if not self._now() < self._deadline:
            raise _late()
        if self._attempt >= SUSPECT_ATTEMPTS:
            self._attempt -= await self._retried(lambda: self._store.excuses(self.asked.key))
            if self._attempt > MAX_ATTEMPTS:
                text = f"The server ended {MAX_ATTEMPTS} times while it worked on this request, which is given up"
                raise _FailedError("exchange_given_up", text)
            if self._attempt >= SUSPECT_ATTEMPTS and not self._isolation.begin(self):
                await self._wait_for_turn()

    async def _wait_for_turn(self) -> None:
        """Wait, then have the request claimed again: an attempt counts only if the request was carried out in it."""
        await self._retried(lambda: self._store.excuse(self.asked.key, _LONGER_SECONDS + MAX_SECONDS))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._deadline - self._now())) as self._reading:
                await self._isolation.free()
        if self._interruption == CANCELLED:
            self._check_interruption()
        raise _GivenBackError

    def _check_interruption(self) -> None:
        if self._interruption == CANCELLED:
            raise _FailedError("exchange_cancelled", "The request was cancelled")
        if self._interruption:
            raise _GivenBackError(excused=True)

    async def _say_all(self) -> None:
        asked = replace(self.asked, line=with_key(self.asked.line, self.asked.key.exchange))
        async with aclosing(self._run(asked)) as lines:
            while (line := await self._next(lines)) is not None:
                message = outline(line)
                if message.is_answer or self._progress.is_news(message):
                    await self._say(line, last=message.is_answer)
                if message.is_answer:
                    return
        raise _FailedError("exchange_unanswered", "The server has not answered the request")

    async def _next(self, lines: AsyncGenerator[bytes, None]) -> bytes | None:
        """The next message of the server; None if there are no more."""
        self._check_interruption()
        try:
            async with asyncio.timeout(max(0.0, self._deadline - self._now())) as self._reading:
                return await anext(lines, None)
        except UpstreamError as error:
            if self._attempt >= MAX_ATTEMPTS:
                raise _FailedError("exchange_given_up", str(error)) from error
            raise _GivenBackError(self._server_waits.seconds_after(self._attempt)) from error
        except Exception as error:  # whatever it is, the caller is waiting
            if isinstance(error, TimeoutError) and self._reading is not None and self._reading.expired():
                self._check_interruption()
                raise _late() from error
            log.warning("A request to %s failed", self.asked.key.server, exc_info=error)
            text = str(error) if isinstance(error, BrokerPlaneError) else f"The server failed ({type(error).__name__})"
            raise _FailedError("exchange_failed", text) from error
        finally:
            self._reading = None

    async def _say(self, line: bytes, *, last: bool) -> None:
        """Store a message under the next number, then pass it on."""
        said = Said(self._seq + 1, line, last)
        if last and self._hand_over is not None and await self._hand_over(self.asked, said):
            self.handed_over = True
            return
        try:
            await self._append(said)
        except TooLargeError as error:
            if not last:
                log.warning("A message of %s was dropped: %s", self.asked.key.server, error)
                return
            key = outline(self.asked.line).id
            said = replace(said, line=error_answer(key, INTERNAL_ERROR, str(error), {"code": error.code}))
            await self._append(said)
        self._seq = said.seq
        await self._passed_on(self._relay.said(self.asked, said))

    async def _append(self, said: Said) -> None:
        await self._retried(lambda: self._store.append(self.asked.key, said, seconds_kept(self.asked, self._now())))

    async def _is_answered(self) -> bool:
        with suppress(BrokerUnavailableError):
            last = await self._store.last(self.asked.key)
            return last is not None and last.last
        return False

    async def _finish(self) -> None:
        """Nobody gets the request again. If that fails somebody does, and finds the answer."""
        with suppress(StorageError):
            await self.claim.done(confirmed=not self.handed_over)
            if self.asked.expires > self.asked.at + MAX_SECONDS + KEPT_SECONDS:  # its sender wants it kept for ever
                await self._store.drop(self.asked.key)

    async def _excuse(self) -> None:
        """Note that the request has not ended this process."""
        with suppress(StorageError):
            await self._store.excuse(self.asked.key, seconds_kept(self.asked, self._now()))

    async def _give_back(self, given: _GivenBackError) -> None:
        if given.excused:
            await self._excuse()
        with suppress(StorageError):
            await self.claim.again(given.seconds)

    async def _passed_on(self, passing: Awaitable[None]) -> None:
        """Use the quick way to the caller, who fetches what gets lost on it."""
        try:
            async with asyncio.timeout(_RELAY_SECONDS):
                await passing
        except Exception as error:  # noqa: BLE001  # of a carrier, which may be another one's
            log.debug("A message was not passed on: %r", error)

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of `attempt`, which is repeated while the broker is away or full."""
        tries = 0
        while True:
            try:
                return await attempt()
            except (BrokerUnavailableError, StoreFullError) as error:
                if self._interruption == STOPPED or self._now() > self._deadline + KEPT_SECONDS:
                    raise
                tries += 1
                if tries == _REPORTED_TRIES:
                    log.warning("An exchange of %s waits: %s", self.asked.key.server, error)
            await asyncio.sleep(_BROKER_WAITS.seconds_after(tries))


def seconds_kept(asked: Asked, now: float) -> int:
    """How long a message about this request is kept, in seconds from `now`."""
    latest = asked.at + MAX_SECONDS + KEPT_SECONDS
    return max(1, ceil(max(deadline_of(asked), min(asked.expires, latest)) - now)) + _LONGER_SECONDS


def deadline_of(asked: Asked) -> float:
    """Until when the request may be answered, in unix seconds."""
    return min(asked.deadline or asked.at + DEFAULT_SECONDS, asked.at + MAX_SECONDS, asked.expires)


def _late() -> _FailedError:
    return _FailedError("exchange_deadline", "The request's deadline has passed")
