"""Durables of grant holders that have no connection to the broker: subscribers over HTTP.

They have the same names as a guest's durables over NATS, so a subscriber may change from one to the other. Positions
are stored in the broker only, so any bridge continues where another one stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from functools import partial
from typing import Any

from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, WireError
from broker_plane.plane.feeds.access import OpenFeed
from broker_plane.plane.feeds.limits import DurableLimits, DurablePayer
from broker_plane.plane.feeds.message import keep_in_progress
from broker_plane.plane.feeds.ports import DeliveredNotice, Durable, DurableCursor, Durables
from broker_plane.plane.grants.grants import Opened
from broker_plane.wire.durables import guest_durable, parse_durable
from broker_plane.wire.feeds import Notice, Since
from broker_plane.wire.names import asker_of
from broker_plane.wire.urls import quoted

Start = Callable[[str, Any], Awaitable[int]]
"""Returns the stream sequence at which a subscription to a feed begins; raises WireError unless given a `Since`."""

ACK_SECONDS = 5.0
"""A notice that was pending at a bridge that died is redelivered after this; live bridges report progress."""

_REQUEST_SECONDS = 30.0
_RECONNECT_SECONDS = 0.1


class HttpDurables:
    """The durables of grant holders over HTTP."""

    def __init__(self, durables: Durables, start: Start, limits: DurableLimits, *, now: Callable[[], float]) -> None:
        self._durables = durables
        self._start = start
        self._limits = limits
        self._now = now

    def named(self, feed: OpenFeed, grant: str, name: str) -> Durable:
        """Return the durable `name` of the authenticated holder of `grant`, or of the grant if its holder is unknown.

        Raises:
            WireError: invalid name.
        """
        if "_" in name:  # separates the holder from the name
            raise WireError(f"Invalid durable name {quoted(name)}: over HTTP use only A-Z, a-z, 0-9 and -")
        full = parse_durable(guest_durable(feed.opened.who or asker_of(grant), name))
        idle = self._limits.idle(feed.opened.grant.expires - self._now())
        payer = payer_of(feed.opened)
        return Durable(name=full, feed=feed.name, ack_seconds=ACK_SECONDS, idle_seconds=idle, payer=payer)

    async def ensure(self, feed: OpenFeed, grant: str, name: str, since: Since) -> Durable:
        """Return the durable `name`, creating it if needed; a new one begins at `since`.

        Raises:
            WireError: invalid name.
            DurableError: the name is used by another feed.
            DurableLimitError: the grant, its owner or all grants together have the maximum number.
        """
        durable = self.named(feed, grant, name)
        await self._durables.ensure(durable, lambda: self._start(feed.name, since))
        return durable

    async def ack(self, durable: Durable, ack_id: str) -> None:
        """As `Durables.ack`."""
        await self._durables.ack(durable, ack_id)

    async def follow(self, feed: OpenFeed, durable: Durable) -> AsyncGenerator[tuple[str, Notice], None]:
        """Yield (ack id, notice) without end; the next one follows once the last was acknowledged.

        When the generator is closed, an unacknowledged notice is redelivered to the next subscriber at once.

        Raises:
            DurableError: the durable was deleted.
        """
        while True:
            pending: DeliveredNotice | None = None
            try:
                async with self._durables.cursor(durable) as cursor:
                    while True:
                        pending = await self._next(cursor, feed, durable, pending)
                        yield pending.ack_id, pending.notice
            except BrokerUnavailableError:
                await asyncio.sleep(_RECONNECT_SECONDS)
            finally:
                if pending is not None:
                    # Only after the cursor was closed: it has requested the next notice, and would get this one again.
                    # For an acknowledged notice this has no effect.
                    with suppress(BrokerPlaneError):
                        await cursor.nack(pending, 0.0)

    async def _next(
        self, cursor: DurableCursor, feed: OpenFeed, durable: Durable, pending: DeliveredNotice | None
    ) -> DeliveredNotice:
        """Return the next notice of the feed's owner; `pending` is reported in progress until it is acknowledged."""
        while True:
            async with _kept(cursor, durable, pending):
                delivered = await cursor.next(_REQUEST_SECONDS)
            if delivered is None:
                continue
            if delivered.notice.body.owner == feed.opened.owner:
                return delivered
            await cursor.ack(delivered)


def _kept(
    cursor: DurableCursor, durable: Durable, pending: DeliveredNotice | None
) -> AbstractAsyncContextManager[None]:
    if pending is None:
        return nullcontext()
    return keep_in_progress(partial(cursor.in_progress, pending), durable.ack_seconds)


def payer_of(opened: Opened) -> DurablePayer:
    """Return the account of a grant holder's durables: that of the root grant, whose id narrowed grants share."""
    return DurablePayer(opened.grant.id, opened.owner)
