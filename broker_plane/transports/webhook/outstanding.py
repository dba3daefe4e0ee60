"""Requests whose answers were not accepted yet: how many a session may have, and what is forgotten afterwards."""

from __future__ import annotations

import asyncio
from time import monotonic

from broker_plane.errors import BrokerPlaneError, RateLimitedError
from broker_plane.exchange.messages import ExchangeKey
from broker_plane.plane.exchanges.outbox import SessionOutbox
from broker_plane.plane.exchanges.ports import ExchangeStore
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.transports.webhook.message_ids import is_kept

log = redacted_logger(__name__)

MOST_OUTSTANDING = 1_000
_MOST_WAITING = 10_000
_LOOK_SECONDS = 10.0


class OutstandingRequests:
    """Those that this process has accepted."""

    def __init__(self, store: ExchangeStore, outbox: SessionOutbox) -> None:
        self._store = store
        self._outbox = outbox
        self._counts: dict[str, int] = {}
        self._answered: asyncio.Queue[ExchangeKey] = asyncio.Queue(_MOST_WAITING)

    def check(self, session: str) -> None:
        """Raise RateLimitedError if a session has as many as it may have."""
        count = self._counts.get(session, 0)
        if count >= MOST_OUTSTANDING:
            raise RateLimitedError(f"This session has {count} requests whose answers were not accepted", retry_after=5)

    def add(self, session: str) -> None:
        """Another request was accepted."""
        self._counts[session] = self._counts.get(session, 0) + 1

    def answered(self, key: ExchangeKey, *, accepted: bool) -> None:
        """The answer to a request was accepted by its callback; or it was given up, and the client may fetch it."""
        left = self._counts.pop(key.session, 0) - 1
        if left > 0:
            self._counts[key.session] = left
        if accepted and not is_kept(key.exchange) and not self._answered.full():
            self._answered.put_nowait(key)

    def closed(self, session: str) -> None:
        """A session was closed."""
        self._counts.pop(session, None)

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
