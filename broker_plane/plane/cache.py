"""Hot bodies in memory: a BodyStore in front of another. Bodies are immutable: verified once is right.

A body is read once, however many readers come at the same moment: a task of its own reads it as fast as the store
gives it, and each reader follows at its own pace what is there. Its memory is set aside before the first byte and is
given back only when no reader needs it any more, so that the limit holds whatever readers do; who comes when there is
no room reads from the store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing

from broker_plane.plane.ports import BodyStore, BodyWriter, Draft
from broker_plane.plane.reading import Reading
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId

Place = tuple[str, BodyId]
"""Owner and id: an owner may put a body into its bucket under the id of another one's."""

_LARGEST_SHARE = 4
"""A body above a quarter of the cache would push out everything else."""


class CachingBodyStore:
    """Keeps the bytes of bodies that were read whole, least recently used out first, `limit` bytes in all.

    Whether a body is still there is asked of the store every time: only its bytes are remembered.
    """

    def __init__(self, store: BodyStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._readings: OrderedDict[Place, Reading] = OrderedDict()
        self.size = 0
        self.hits = 0
        self.misses = 0

    def writer(self, draft: Draft) -> AbstractAsyncContextManager[BodyWriter]:
        return self._store.writer(draft)

    async def info(self, owner: str, body_id: BodyId) -> BodyInfo:
        return await self._store.info(owner, body_id)

    async def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        reading = self._reading(body, whole=start == 0 and stop is None)
        if reading is None:
            self.misses += 1
            async with aclosing(self._store.read(body, start, stop)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        with reading:
            async with aclosing(reading.read(start, body.size if stop is None else stop)) as pieces:
                async for piece in pieces:
                    yield piece

    def list(self, owner: str) -> AsyncIterator[BodyInfo]:
        return self._store.list(owner)

    async def delete(self, owner: str, body_id: BodyId) -> None:
        await self._store.delete(owner, body_id)

    def _reading(self, body: BodyInfo, *, whole: bool) -> Reading | None:
        """The body in memory, or on its way there; None where this reader is to read from the store."""
        place = body.owner, body.id
        reading = self._readings.get(place)
        if reading is not None:
            # A part of a body that is still on its way may come sooner from the store.
            if not whole and not reading.complete:
                return None
            self.hits += 1
            self._readings.move_to_end(place)
            return reading
        if not whole or not body.size or body.size * _LARGEST_SHARE > self._limit or not self._make_room(body.size):
            return None
        self.misses += 1
        self._readings[place] = reading = Reading(self._store.read(body), body.size, lambda: self._drop(place))
        self.size += body.size
        return reading

    def _make_room(self, size: int) -> bool:
        """Whether `size` more bytes fit, once those that nobody is reading went."""
        excess = self.size + size - self._limit
        gone: list[Place] = []
        for place, reading in self._readings.items():
            if excess <= 0:
                break
            if not reading.readers:
                gone.append(place)
                excess -= reading.size
        for place in gone:
            self._drop(place)
        return excess <= 0

    def _drop(self, place: Place) -> None:
        self.size -= self._readings.pop(place).size
