"""Live streams for whoever holds a grant."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from broker_plane.errors import BodyNotFoundError, ForbiddenError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.streams.ports import LiveLog
from broker_plane.wire.grant import Kind
from broker_plane.wire.live import Item, Live

_ANSWER_BYTES = 400_000
_WAIT_SECONDS = 2.0
"""An asker over NATS waits for its answer; with nothing new it is told so, and asks again."""


class GrantedLive:
    """Opens the grants of streams. A stream is shown to grants of its owner's keys only."""

    def __init__(self, log: LiveLog, deliveries: Deliveries) -> None:
        self.log = log
        self._deliveries = deliveries

    async def open(self, text: str, who: str = "", asker: str = "") -> tuple[Live, Opened]:
        """The stream of a grant, and the grant.

        Raises:
            GrantError: as `Deliveries.open`. ForbiddenError: it is for a body or a feed, or was narrowed.
            BodyNotFoundError: the stream is over.
        """
        opened = await self._deliveries.open(text, who, asker)
        return await self.of(opened), opened

    async def of(self, opened: Opened) -> Live:
        """The stream of a grant that is open already. Raises as `open`."""
        scope = opened.grant.scope
        if opened.grant.kind is not Kind.STREAM:
            raise ForbiddenError("This grant is for no live stream")
        if not scope.shows_all or scope.bytes is not None or scope.formats is not None or opened.grant.counters:
            # What it hides would have to be cut out of every item; so nothing of it is shown.
            raise ForbiddenError("A live stream is shown whole: narrow its grant by time and audience only")
        live = await self.log.find(opened.grant.body)
        if live.owner != opened.owner:
            raise BodyNotFoundError("This stream is over, or never was")
        return live

    async def check(self, opened: Opened) -> None:
        """Raise once the grant has ended or was revoked."""
        await self._deliveries.grants.check(opened, opened.who)

    async def window(self, live: Live, after: int) -> list[Item]:
        """What follows `after`, which its reader has taken: at once what is there, else what comes within moments."""
        if await self.log.taken(live, after):
            return []
        items: list[Item] = []
        try:
            async with asyncio.timeout(_WAIT_SECONDS), aclosing(self.log.follow(live, after)) as coming:
                async for item in coming:
                    items.append(item)
                    break
        except TimeoutError:
            return []
        if not items or items[0].end:
            return items
        size = len(items[0].data)
        async with aclosing(self.log.kept(live, items[0].number)) as kept:
            async for item in kept:
                size += len(item.data)
                if size > _ANSWER_BYTES:
                    break
                items.append(item)
        return items
