"""Sends the stored messages of sessions to their callbacks: in order within a session, with retries, from any process.

Every stored message is a wake-up for its session. One claimed message at a time keeps a session awake: it is
acknowledged only after all messages of the session were sent, and after a failure it comes again after a delay. So a
session whose callback does not answer costs one unacknowledged message, and no coroutine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from broker_plane.errors import BrokerPlaneError, ConflictError
from broker_plane.plane.exchanges.outbox import Outgoing, SessionOutbox
from broker_plane.plane.exchanges.ports import Claim, ExchangeKey
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.webhooks.signed_post import WebhookResponse
from broker_plane.transports.webhook.positions import HeldPosition, Positions

log = redacted_logger(__name__)

_GONE = 410
_FRESH_SECONDS = 1.0
"""A claim this young outlasts an attempt to send."""

_HELD_SECONDS = 0.2
"""How soon to look again for a session whose messages another process sends now."""

_LONGEST_REQUESTED_SECONDS = 3600.0
"""The longest Retry-After that is respected."""


class Wakeups(Protocol):
    """The stored messages of all sessions, claimed one by one."""

    def claims(self, room: Callable[[], int]) -> AsyncGenerator[Claim, None]:
        """As `WorkQueue.claims`."""

    def said(self, message: Claim) -> tuple[ExchangeKey, int]:
        """The exchange and number of a claimed message; the number is 0 while parts of it follow."""


class Recipient(Protocol):
    """What a session's messages are sent to."""

    @property
    def id(self) -> str:
        """The id of the session."""

    @property
    def server(self) -> str:
        """The server whose session it is."""


R = TypeVar("R", bound=Recipient)


class SessionDeliveries(Protocol[R]):
    """The recipients of all sessions."""

    async def find(self, session: str) -> R | None:
        """The recipient of a session; None if it was closed."""

    async def deliver(self, session: R, outgoing: Outgoing) -> WebhookResponse:
        """Send one message. Raises UntrustedHostError: nothing was sent."""

    def answered(self, key: ExchangeKey, *, accepted: bool) -> None:
        """The answer to a request was accepted, or given up."""

    async def closed_by_client(self, session: str) -> None:
        """The callback answered that it is gone for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingRules:
    """The delays between attempts in seconds, and the age in seconds at which a message becomes a dead letter."""

    first_seconds: float = 1.0
    longest_seconds: float = 1800.0
    deadline_seconds: float = 86_400.0
    jitter: float = 0.2
    most_at_once: int = 128

    def delay_after(self, attempts: int, spread: float) -> float:
        """The delay after the failed attempt number `attempts`, from 1; `spread` is from 0 to 1."""
        delay = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempts - 1, 32))
        return delay * (1.0 + self.jitter * spread)


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
        self._awake: dict[str, _Awake] = {}
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
        self._start(session, None)

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
            self._start(key.session, claim)
            return
        if awake is not None:
            awake.more, awake.only = True, None
            if awake.claim is None or _is_same(awake.claim, claim):
                awake.claim = claim
                return
        # The claim that keeps the session awake covers this one; and the last part of a message covers this part.
        with suppress(BrokerPlaneError):
            await claim.done()

    def _start(self, session: str, claim: Claim | None) -> None:
        if session not in self._awake:
            # After a failure, messages whose claims were acknowledged wait behind the one that comes again.
            first = claim is not None and claim.attempt == 1
            self._awake[session] = _Awake(claim, only=self._wakeups.said(claim) if claim and first else None)
            task = asyncio.create_task(self._send_all(session))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send_all(self, session: str) -> None:
        awake, delay = self._awake[session], 0.0
        try:
            while awake.more and not delay:
                delay = await self._sent(session)
        except BrokerPlaneError as error:
            log.info("The messages of a session could not be sent now: %s", error.brief)
            delay = self._rules.first_seconds
        except Exception:
            log.exception("Sending the messages of a session failed")
            delay = self._rules.longest_seconds
        finally:
            del self._awake[session]
        if awake.claim is not None:
            with suppress(BrokerPlaneError):  # otherwise its lease ends, and it comes again
                await (awake.claim.again(delay) if delay else awake.claim.done())

    async def _sent(self, session: str) -> float:
        """Send what is stored of a session. Returns the seconds after which to go on; 0 if everything was sent."""
        awake = self._awake[session]
        awake.more = False
        found, held = await asyncio.gather(self._deliveries.find(session), self._positions.take(session))
        if found is None:
            await self._positions.forget(session)
            return 0.0
        if isinstance(held, float):
            return held
        delay, again = 0.0, True
        try:
            while again and not delay:
                awake.more = False
                delay = await self._sent_behind(found, held)
                again = awake.more
        except ConflictError:
            return _HELD_SECONDS
        finally:
            with suppress(BrokerPlaneError):
                await held.leave()
        return delay

    async def _sent_behind(self, recipient: R, held: HeldPosition) -> float:
        """Send what is stored behind the held position, in order, up to the first failure. Returns as `_sent`."""
        session, began = recipient.id, True
        if self._awake[session].only is not None:
            outgoing = await self._outbox.next(self._server, session, held.position.sent)
            if outgoing is not None and (outgoing.key, outgoing.said.seq) == self._awake[session].only:
                return await self._sent_one(recipient, held, outgoing)
        async with aclosing(self._outbox.after(self._server, session, held.position.sent)) as messages:
            async for outgoing in messages:
                latest = recipient if began else await self._deliveries.find(session)
                if latest is None:
                    break
                began, recipient = False, latest  # its callback may be another one now
                if delay := await self._sent_one(recipient, held, outgoing):
                    return delay
        return 0.0

    async def _sent_one(self, session: R, held: HeldPosition, outgoing: Outgoing) -> float:
        await self._awake[session.id].keep(self._now())
        await held.keep_if_short()
        response = await self._attempt(session, outgoing)
        if response.accepted:
            held.sent(outgoing.position)
            if outgoing.said.last:
                self._deliveries.answered(outgoing.key, accepted=True)
            return 0.0
        if response.status == _GONE:
            await self._deliveries.closed_by_client(session.id)
            return 0.0
        held.failed()
        self._note(session, held, outgoing, response)
        if self._now() - outgoing.at >= self._rules.deadline_seconds:
            held.given_up(outgoing.position)
            if outgoing.said.last:
                self._deliveries.answered(outgoing.key, accepted=False)
            log.warning("A message of an MCP session could not be sent in time; its client can fetch it")
            return 0.0
        requested = min(response.retry_after or 0.0, _LONGEST_REQUESTED_SECONDS)
        return max(self._rules.delay_after(held.position.attempts, self._random()), requested)

    async def _attempt(self, session: R, outgoing: Outgoing) -> WebhookResponse:
        try:
            return await self._deliveries.deliver(session, outgoing)
        except BrokerPlaneError as error:  # nothing was sent: the address is no longer allowed
            return WebhookResponse(0, error=error.brief)

    def _note(self, session: R, held: HeldPosition, outgoing: Outgoing, response: WebhookResponse) -> None:
        said = f"answered {response.status}" if response.status else f"gave no answer: {response.error}"
        level = logging.INFO if held.position.attempts == 1 else logging.DEBUG
        values = (outgoing.said.seq, outgoing.key.exchange, session.server, held.position.attempts, said)
        log.log(level, "Message %d of exchange %s of %s: the callback of attempt %d %s", *values)


def _is_same(held: Claim, claim: Claim) -> bool:
    """Whether a message was delivered again, because its lease has ended."""
    return (held.subject, held.at) == (claim.subject, claim.at)


@dataclass(slots=True)
class _Awake:
    """A session whose messages are being sent. `claim` comes again if this process ends."""

    claim: Claim | None
    more: bool = True
    only: tuple[ExchangeKey, int] | None = None
    """The one message that has woken the session, as long as no other has: most sessions have no more to send."""
    kept: float = 0.0
    """When the lease of the claim was extended."""

    async def keep(self, now: float) -> None:
        """Extend the lease of the claim, if an attempt to send might outlast it."""
        if self.claim is not None and now - max(self.kept, self.claim.at) > _FRESH_SECONDS:
            await self.claim.extend()
            self.kept = now
