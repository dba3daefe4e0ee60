"""Requests whose answers were not accepted yet: how many a session may have, and what is forgotten afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from broker_plane.errors import BrokerPlaneError, RateLimitedError
from broker_plane.exchange.messages import ExchangeKey
from broker_plane.plane.exchanges.limits import KEPT_SECONDS, MAX_SECONDS
from broker_plane.plane.exchanges.outbox import SessionOutbox
from broker_plane.plane.exchanges.ports import ExchangeStore
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.transports.webhook.message_ids import is_kept

log = redacted_logger(__name__)

MOST_OUTSTANDING = 1_000
"""Of one session, accepted by one process. A session that uses n processes may have n times as many."""

_MOST_WAITING = 10_000
_LOOK_SECONDS = 10.0
_COUNTED_SECONDS = 2.0 * MAX_SECONDS + KEPT_SECONDS
"""Until when a request counts whose end this process has not heard of: it is carried out, and its answer is sent, for a
day each."""


class OutstandingRequests:
    """Those that this process has accepted."""

    def __init__(
        self, store: ExchangeStore, outbox: SessionOutbox, tell: Callable[[ExchangeKey], Awaitable[None]]
    ) -> None:
        """`tell` says to the other processes that an answer waits no longer."""
        self._store = store
        self._outbox = outbox
        self._tell = tell
        self._accepted: dict[str, dict[str, float]] = {}
        """By session and exchange: until when the request counts."""
        self._answered: asyncio.Queue[ExchangeKey] = asyncio.Queue(_MOST_WAITING)

    def check(self, session: str) -> None:
        """Raise RateLimitedError if a session has as many as it may have."""
        accepted = self._accepted.get(session, {})
        if len(accepted) < MOST_OUTSTANDING:
            return
        for exchange in [each for each, until in accepted.items() if until < monotonic()]:
            del accepted[exchange]
        if len(accepted) >= MOST_OUTSTANDING:
            count = len(accepted)
            raise RateLimitedError(f"This session has {count} requests whose answers were not accepted", retry_after=5)

    def add(self, key: ExchangeKey) -> bool:
        """Another request is about to be stored: it may be answered at once. False: it counts already."""
        accepted = self._accepted.setdefault(key.session, {})
        new = key.exchange not in accepted
        accepted[key.exchange] = monotonic() + _COUNTED_SECONDS
        return new

    def drop(self, key: ExchangeKey) -> None:
        """A request was not stored, or before by another process."""
        self._remove(key)

    async def answered(self, key: ExchangeKey, *, accepted: bool) -> None:
        """The answer to a request was accepted by its callback; or it was given up, and the client may fetch it."""
        if not self._remove(key):
            with suppress(BrokerPlaneError):  # then it counts for too long there
                await self._tell(key)
        if accepted and not is_kept(key.exchange) and not self._answered.full():
            self._answered.put_nowait(key)

    def answered_elsewhere(self, key: ExchangeKey) -> None:
        """Another process has sent the answer to a request, or has given it up."""
        self._remove(key)

    def closed(self, session: str) -> None:
        """A session was closed."""
        self._accepted.pop(session, None)

    async def forget(self) -> None:
        """Remove from the store what nobody can ask for any more, until the task is cancelled.

        The rest expires: keys that a client has given, what this process did not get to, and everything as long as
        the store is nearly empty.
        """
        looked, filling = -_LOOK_SECONDS, True
        while True:
            key = await self._answered.get()
            try:
                if monotonic() - looked > _LOOK_SECONDS:
                    looked, filling = monotonic(), await self._outbox.is_filling()
                if filling:
                    await self._store.forget(key)
            except BrokerPlaneError as error:
                log.debug("An exchange expires later: %s", error.brief)

    def _remove(self, key: ExchangeKey) -> bool:
        """Whether this process has accepted the request, which counts no longer."""
        accepted = self._accepted.get(key.session, {})
        known = accepted.pop(key.exchange, None) is not None
        if known and not accepted:
            del self._accepted[key.session]
        return known
