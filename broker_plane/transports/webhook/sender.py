"""Sends the stored messages of sessions to their callbacks, with retries, from any process.

Every stored message is a wake-up for its session. One claimed message at a time keeps a session awake: it is
acknowledged only after all messages of the session were sent, and after a failure it comes again after a delay. So a
session whose callback does not answer costs one unacknowledged message, and no coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Generic, Protocol

from broker_plane.errors import BrokerPlaneError, ConflictError
from broker_plane.plane.exchanges.outbox import SessionOutbox
from broker_plane.plane.exchanges.ports import Claim, ExchangeKey
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.transports.webhook.positions import HeldPosition, Positions
from broker_plane.transports.webhook.sending_rules import SendingRules
from broker_plane.transports.webhook.session_run import Awake, R, SessionDeliveries, SessionRun

log = redacted_logger(__name__)

_HELD_SECONDS = 0.2
"""How soon to look again for a session whose messages another process sends now."""


class Wakeups(Protocol):
    """The stored messages of all sessions, claimed one by one."""

    def claims(self, room: Callable[[], int]) -> AsyncGenerator[Claim, None]:
        """As `WorkQueue.claims`."""

    def said(self, message: Claim) -> tuple[ExchangeKey, int]:
        """The exchange and number of a claimed message; the number is 0 while parts of it follow."""


class CallbackSender(Generic[R]):
    """Sends the messages of one server's sessions."""

    def __init__(
        self,
        wakeups: Wakeups,
        outbox: SessionOutbox,
        positions: Positions,
        deliveries: SessionDeliveries[R],
        server: str,
        *,
        rules: SendingRules,
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """`random` returns numbers from 0 to 1."""
        self._wakeups = wakeups
        self._outbox = outbox
        self._positions = positions
        self._deliveries = deliveries
        self._server = server
        self._rules = rules
        self._now = now
        self._random = random
        self._awake: dict[str, Awake] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send until the task is cancelled."""
        try:
            async with aclosing(self._wakeups.claims(self._room)) as claims:
                async for claim in claims:
                    await self._take(claim)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self, session: str) -> None:
        """Send the messages of a session now: its client has shown itself."""
        awake = self._awake.get(session)
        if awake is None:
            self._start(session, Awake(claim=None, fresh=False, shown=True))
        else:
            awake.shown = True
            awake.wake()

    @property
    def busy(self) -> int:
        """The number of sessions whose messages are being sent now."""
        return len(self._awake)

    def _room(self) -> int:
        return self._rules.most_at_once - len(self._awake)

    async def _take(self, claim: Claim) -> None:
        key, number = self._wakeups.said(claim)
        awake = self._awake.get(key.session)
        if awake is None and number:
            fresh = claim.attempt == 1
            # After a failure, messages whose claims were acknowledged wait behind the one that comes again.
            self._start(key.session, Awake(claim=claim, fresh=fresh, only=(key, number) if fresh else None))
            return
        if awake is not None:
            awake.fresh = awake.fresh and claim.attempt == 1
            awake.wake()
            if awake.claim is None or _is_same(awake.claim, claim):
                awake.claim = claim
                return
        # The claim that keeps the session awake covers this one; and the last part of a message covers this part.
        await _acknowledge(claim)

    def _start(self, session: str, awake: Awake) -> None:
        self._awake[session] = awake
        task = asyncio.create_task(self._send_all(session, awake))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_all(self, session: str, awake: Awake) -> None:
        delay = 0.0
        try:
            while awake.shown or (awake.more and not delay):
                shown, awake.shown = awake.shown, False
                delay = await self._sent(session, awake, shown=shown)
        except BrokerPlaneError as error:
            log.info("The messages of a session could not be sent now: %s", error.brief)
            delay = self._rules.first_seconds
        except Exception:
            log.exception("Sending the messages of a session failed")
            delay = self._rules.longest_seconds
        finally:
            del self._awake[session]
        if awake.claim is None:
            return
        if not delay:
            await _acknowledge(awake.claim)
            return
        with suppress(BrokerPlaneError):  # otherwise its lease ends, and it comes again
            await awake.claim.again(delay)

    async def _sent(self, session: str, awake: Awake, *, shown: bool) -> float:
        """Send what is stored of a session. Returns the seconds after which to go on; 0 if everything was sent."""
        awake.more = True
        taking = self._positions.take(session, shown=shown)
        found, held = await asyncio.gather(self._deliveries.find(session), taking)
        if found is None:
            awake.more = False
            await self._positions.forget(session)
            return 0.0
        if isinstance(held, float):
            return held
        if (
            awake.fresh and not shown and self._now() < held.position.resumes
        ):  # the message that failed comes again then
            awake.more = False
            await self._left(held)
            return 0.0
        run = SessionRun(
            awake, found, held, self._outbox, self._deliveries, self._rules, now=self._now, random=self._random
        )
        delay = _HELD_SECONDS
        try:
            with suppress(ConflictError):
                delay = await run.run()
        finally:
            noted = await self._left(held)
        if run.closed:
            await self._positions.forget(session)
        return delay if noted else max(delay, _HELD_SECONDS)

    async def _left(self, held: HeldPosition) -> bool:
        """Whether it is stored how far the messages were sent; otherwise some of them will be sent again."""
        try:
            await held.leave()
        except BrokerPlaneError as error:
            log.info("It could not be stored how far the messages of a session were sent: %s", error.brief)
            return False
        return True


async def _acknowledge(claim: Claim) -> None:
    """If that gets lost the message comes again, and nothing is left to send."""
    with suppress(BrokerPlaneError):
        await claim.done(confirmed=False)


def _is_same(held: Claim, claim: Claim) -> bool:
    """Whether a message was delivered again, because its lease has ended."""
    return (held.subject, held.at) == (claim.subject, claim.at)
