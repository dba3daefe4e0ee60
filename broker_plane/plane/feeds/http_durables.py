"""Durables of who holds a feed's grant and has no connection to the broker: a subscriber over HTTP.

They are those of a guest over NATS, under the same names: a subscriber may go on by the other way. A place is kept in
the broker and nowhere else, so any bridge goes on where another one, which may be gone, was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, WireError
from broker_plane.plane.feeds.access import OpenFeed
from broker_plane.plane.feeds.limits import DurableLimits, Payer
from broker_plane.plane.feeds.ports import Delivered, Durable, Durables
from broker_plane.plane.feeds.subscribe import still
from broker_plane.plane.grants.grants import Opened
from broker_plane.wire.durables import guest_durable, parse_durable
from broker_plane.wire.feeds import Notice, Since
from broker_plane.wire.names import asker_of
from broker_plane.wire.urls import quoted

Start = Callable[[str, Any], Awaitable[int]]
"""The stream sequence at which a subscription to a feed begins; what is no `Since` is a WireError."""

ACK_SECONDS = 5.0
"""A bridge that died with a notice under way is missed after this; one that lives says that it does."""

_ASK_SECONDS = 30.0
_AWAY_SECONDS = 0.1


class Places:
    """The durables of holders."""

    def __init__(self, durables: Durables, start: Start, limits: DurableLimits, *, now: Callable[[], float]) -> None:
        self._durables = durables
        self._start = start
        self._limits = limits
        self._now = now

    def named(self, feed: OpenFeed, grant: str, name: str) -> Durable:
        """What the holder of `grant` calls `name`: of the holder where it has a name, else of the grant.

        Raises:
            WireError: it is no name.
        """
        if "_" in name:  # what is before the last one is the holder
            raise WireError(f"{quoted(name)} is no durable over HTTP: A-Z, a-z, 0-9 and -, as in ?durable=email")
        full = parse_durable(guest_durable(feed.opened.who or asker_of(grant), name))
        idle = self._limits.idle(feed.opened.grant.expires - self._now())
        payer = payer_of(feed.opened)
        return Durable(name=full, feed=feed.name, ack_seconds=ACK_SECONDS, idle_seconds=idle, payer=payer)

    async def ensure(self, feed: OpenFeed, grant: str, name: str, since: Since) -> Durable:
        """The durable, which exists; a new one begins at `since`.

        Raises:
            WireError: it is no name.
            DurableError: it is another feed's.
            DurableLimitError: the grant, or all of its owner, may have no more.
        """
        durable = self.named(feed, grant, name)
        await self._durables.ensure(durable, lambda: self._start(feed.name, since))
        return durable

    async def taken(self, durable: Durable, delivery: str) -> None:
        """As `Durables.taken`."""
        await self._durables.taken(durable, delivery)

    async def follow(self, feed: OpenFeed, durable: Durable) -> AsyncGenerator[tuple[str, Notice], None]:
        """Notices with the ids of their deliveries, for ever: the next one after this one was said to be taken.

        Where the generator is closed, the one that was not comes again to whoever asks next.

        Raises:
            DurableError: the durable was removed.
        """
        while True:
            under_way: Delivered | None = None
            try:
                async with self._durables.session(durable) as session:
                    while True:
                        async with still(session, under_way, durable):
                            delivered = await session.next(_ASK_SECONDS)
                        if delivered is None:
                            continue
                        if delivered.notice.body.owner != feed.opened.owner:
                            await session.done(delivered)
                            continue
                        under_way = delivered
                        yield delivered.id, delivered.notice
            except BrokerUnavailableError:
                await asyncio.sleep(_AWAY_SECONDS)
            finally:
                if under_way is not None:
                    # Only now: this session had asked for the next one, and would be given the same one again. One
                    # that was taken stays so.
                    with suppress(BrokerPlaneError):
                        await session.again(under_way, 0.0)


def payer_of(opened: Opened) -> Payer:
    """On whose account the durables of a grant's holders are: the root grant's, whose id narrowed grants share."""
    return Payer(opened.grant.id, opened.owner)
