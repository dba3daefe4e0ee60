"""Streams for holders of a grant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from broker_plane.errors import BodyNotFoundError, ForbiddenError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.streams.ports import StreamLog
from broker_plane.wire.grant import Kind
from broker_plane.wire.streams import StreamInfo, StreamItem

_WINDOW_BYTES = 400_000
_WAIT_SECONDS = 2.0
"""How long a request over NATS waits for a new item; without one the answer is empty, and the reader requests again."""


class GrantedStreams:
    """Opens grants of streams. A stream is shown only to grants of its owner's keys."""

    def __init__(self, log: StreamLog, deliveries: Deliveries) -> None:
        self._log = log
        self._deliveries = deliveries

    async def open(self, text: str, who: str = "", puller: str = "") -> tuple[StreamInfo, Opened]:
        """Return the stream of the grant `text`, and the opened grant.

        Raises:
            GrantError: as `Deliveries.open`. ForbiddenError: the grant is for something else, or its scope is narrowed.
            BodyNotFoundError: the stream has ended.
        """
        opened = await self._deliveries.open(text, who, puller)
        return await self.of(opened), opened

    async def of(self, opened: Opened) -> StreamInfo:
        """Return the stream of a grant that is open already. Raises as `open`."""
        scope = opened.grant.scope
        if opened.grant.kind is not Kind.STREAM:
            raise ForbiddenError("This grant is not for a stream")
        if not scope.shows_all or scope.bytes is not None or scope.formats is not None or opened.grant.counters:
            # Items are not projected, so a narrowed scope cannot be enforced.
            raise ForbiddenError("The grant of a stream can be narrowed by expiry and audience only")
        stream = await self._log.find(opened.grant.body)
        if stream.owner != opened.owner:
            raise BodyNotFoundError("This stream has ended, or never existed")
        return stream

    async def check(self, opened: Opened) -> None:
        """Raise GrantError once the grant has expired or was revoked."""
        await self._deliveries.grants.check(opened, opened.who)

    def follow(self, stream: StreamInfo, after: int) -> AsyncGenerator[StreamItem, None]:
        """As `StreamLog.follow`."""
        return self._log.follow(stream, after)

    async def ack(self, stream: StreamInfo, number: int) -> bool:
        """As `StreamLog.ack`."""
        return await self._log.ack(stream, number)

    async def window(self, stream: StreamInfo, after: int) -> list[StreamItem]:
        """Acknowledge the items up to `after` and return those that follow: at once, or those of the next moments."""
        if await self._log.ack(stream, after):
            return []
        items: list[StreamItem] = []
        try:
            async with asyncio.timeout(_WAIT_SECONDS), aclosing(self._log.follow(stream, after)) as coming:
                async for item in coming:
                    items.append(item)
                    break
        except TimeoutError:
            return []
        if not items or items[0].end:
            return items
        size = len(items[0].data)
        async with aclosing(self._log.read(stream, items[0].number)) as stored:
            async for item in stored:
                size += len(item.data)
                if size > _WINDOW_BYTES:
                    break
                items.append(item)
        return items
