"""Sends what is stored of one session while it is awake: several exchanges at a time, and each of them in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.exchanges.outbox import Outgoing, SessionOutbox
from broker_plane.plane.exchanges.ports import Claim, ExchangeKey
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.webhooks.signed_post import WebhookResponse
from broker_plane.transports.webhook.positions import HeldPosition
from broker_plane.transports.webhook.sending_rules import SendingRules
from broker_plane.transports.webhook.window import MOST_OPEN, Sending, SendingWindow

log = redacted_logger(__name__)

_GONE = 410
_FRESH_SECONDS = 1.0
"""A claim this young outlasts an attempt to send. Leases are looked at as often."""

_LATEST_SECONDS = 0.1
"""After this time the recipient is read again: its callback may be another one now."""

_LONGEST_REQUESTED_SECONDS = 3600.0
"""The longest Retry-After that is respected."""


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

    async def answered(self, key: ExchangeKey, *, accepted: bool) -> None:
        """The answer to a request was accepted, or given up."""

    async def gone(self, session: R) -> None:
        """The callback answered that it is gone for good, which closes the session unless it has another one now."""


@dataclass(slots=True, kw_only=True)
class Awake:
    """A session whose messages are being sent. `claim` comes again if this process ends."""

    claim: Claim | None
    fresh: bool
    """Whether only messages that were just stored have woken the session. After a failure they wait as the others."""
    shown: bool = False
    """Whether its client has shown itself, so that nothing waits."""
    more: bool = True
    """Whether messages may be stored that were not read."""
    only: tuple[ExchangeKey, int] | None = None
    """The one message that has woken the session, as long as no other has: most sessions have no more to send."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is more, and when a message was answered."""
    kept: float = 0.0
    """When the lease of the claim was extended."""

    def wake(self) -> None:
        """Look for more messages."""
        self.more, self.only = True, None
        self.changed.set()

    async def keep(self, now: float) -> None:
        """Extend the lease of the claim, if an attempt to send might outlast it."""
        if self.claim is not None and now - max(self.kept, self.claim.at) > _FRESH_SECONDS:
            await self.claim.extend()
            self.kept = now


class SessionRun(Generic[R]):
    """One attempt to send everything, up to the first failure."""

    def __init__(
        self,
        awake: Awake,
        recipient: R,
        held: HeldPosition,
        outbox: SessionOutbox,
        deliveries: SessionDeliveries[R],
        rules: SendingRules,
        *,
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._awake = awake
        self._session = recipient.id
        self._server = recipient.server
        self._recipient: R | None = recipient
        self._found = now()
        self._held = held
        self._outbox = outbox
        self._deliveries = deliveries
        self._rules = rules
        self._now = now
        self._random = random
        self._window = SendingWindow()
        self._read_to = held.position.sent
        self._tasks: set[asyncio.Task[None]] = set()
        self._responses: list[tuple[Sending, R, WebhookResponse]] = []
        self._failed = False
        self._requested = 0.0

    async def run(self) -> float:
        """Send. Returns the seconds after which to go on; 0 if everything was sent.

        Raises:
            ConflictError: another process sends the messages of this session now. BrokerUnavailableError.
        """
        try:
            while self._tasks or self._goes_on():
                await self._read()
                await self._begin()
                await self._wait()
                await self._settle()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._held.sent_ahead(self._window.ahead())
        return self._delay() if self._failed else 0.0

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._recipient is None

    def _goes_on(self) -> bool:
        return not (self._failed or self.closed) and (self._awake.more or not self._window.empty)

    def _reads_on(self) -> bool:
        return self._awake.more and not self._window.full and self._goes_on()

    async def _read(self) -> None:
        """Read what is stored, as far as there is room for it."""
        if not self._reads_on():
            return
        self._awake.more = False
        if self._awake.only is not None:
            found = await self._outbox.next(self._server, self._session, self._read_to)
            if found is not None and (found.key, found.said.seq) == self._awake.only:
                self._add(found)
                return
        stored = self._outbox.after(self._server, self._session, self._read_to, most=MOST_OPEN)
        async with aclosing(stored) as messages:
            async for outgoing in messages:
                self._add(outgoing)
                if self._window.full:
                    self._awake.more = True
                    return

    def _add(self, outgoing: Outgoing) -> None:
        self._read_to = outgoing.position
        self._window.add(outgoing, settled=outgoing.place in self._held.position.ahead)

    async def _begin(self) -> None:
        """Begin to send what may be sent now, to the latest callback."""
        await self._awake.keep(self._now())
        await self._held.keep_if_short()
        if not self._goes_on():
            return
        if self._now() - self._found > _LATEST_SECONDS:
            self._recipient, self._found = await self._deliveries.find(self._session), self._now()
        if self._recipient is not None:
            for sending in self._window.begin():
                task = asyncio.create_task(self._send(sending, self._recipient))
                self._tasks.add(task)
                task.add_done_callback(self._sent)

    async def _send(self, sending: Sending, recipient: R) -> None:
        try:
            response = await self._deliveries.deliver(recipient, sending.outgoing)
        except BrokerPlaneError as error:  # nothing was sent: the address is no longer allowed
            response = WebhookResponse(0, error=error.brief)
        self._responses.append((sending, recipient, response))

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._awake.changed.set()
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)  # others are raised by `_settle`

    async def _wait(self) -> None:
        """Wait until a message was answered, there is more to read, or leases have to be looked at."""
        if self._tasks and not self._responses and not self._reads_on():
            with suppress(TimeoutError):
                async with asyncio.timeout(_FRESH_SECONDS):
                    await self._awake.changed.wait()
        self._awake.changed.clear()

    async def _settle(self) -> None:
        responses, self._responses = self._responses, []
        for sending, recipient, response in responses:
            await self._settled(sending, recipient, response)
        for outgoing in self._window.settled():
            self._held.sent(outgoing.position)
            self._held.sent_ahead([outgoing.place])
        for task in [each for each in self._tasks if each.done()]:
            self._tasks.discard(task)
            task.result()

    async def _settled(self, sending: Sending, recipient: R, response: WebhookResponse) -> None:
        outgoing = sending.outgoing
        if response.accepted:
            self._window.accepted(sending)
            await self._answered(outgoing, accepted=True)
            return
        if response.status == _GONE:
            await self._deliveries.gone(recipient)
            self._window.failed(sending)
            self._found = 0.0
            return
        self._note(outgoing, response)
        if self._now() - outgoing.at >= self._rules.deadline_seconds:
            self._held.given_up()
            self._window.given_up(sending)
            await self._answered(outgoing, accepted=False)
            values = (outgoing.said.seq, outgoing.key.exchange, self._server)
            log.warning("Message %d of exchange %s of %s could not be sent in time; its client can fetch it", *values)
            return
        self._window.failed(sending)
        self._failed = True
        self._requested = max(self._requested, min(response.retry_after or 0.0, _LONGEST_REQUESTED_SECONDS))

    async def _answered(self, outgoing: Outgoing, *, accepted: bool) -> None:
        if outgoing.said.last:
            await self._deliveries.answered(outgoing.key, accepted=accepted)

    def _delay(self) -> float:
        self._held.failed()
        delay = max(self._rules.delay_after(self._held.position.attempts, self._random()), self._requested)
        self._held.resumes_at(self._now() + delay)
        return delay

    def _note(self, outgoing: Outgoing, response: WebhookResponse) -> None:
        said = f"answered {response.status}" if response.status else f"gave no answer: {response.error}"
        attempt = self._held.position.attempts + 1
        values = (outgoing.said.seq, outgoing.key.exchange, self._server, attempt, said)
        level = logging.INFO if attempt == 1 else logging.DEBUG
        log.log(level, "Message %d of exchange %s of %s: the callback of attempt %d %s", *values)
