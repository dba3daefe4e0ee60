"""Hot bodies in memory: a BodyStore in front of another. Bodies are immutable: verified once is right."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing

from broker_plane.plane.ports import BodyStore, BodyWriter, Draft
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
        self._bodies: OrderedDict[Place, bytes] = OrderedDict()
        self._filling: set[Place] = set()
        self.size = 0
        self.hits = 0
        self.misses = 0

    def writer(self, draft: Draft) -> AbstractAsyncContextManager[BodyWriter]:
        return self._store.writer(draft)

    async def info(self, owner: str, body_id: BodyId) -> BodyInfo:
        return await self._store.info(owner, body_id)

    async def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        held = self._bodies.get(_place(body))
        if held is not None:
            self.hits += 1
            self._bodies.move_to_end(_place(body))
            yield held[start:stop] if (start, stop) != (0, None) else held
            return
        self.misses += 1
        fills = start == 0 and stop is None and self._begin(body)
        parts: list[bytes] = []
        try:
            async with aclosing(self._store.read(body, start, stop)) as pieces:
                async for piece in pieces:
                    if fills:
                        parts.append(piece)
                    yield piece
            if fills:
                self._keep(_place(body), b"".join(parts))
        finally:
            if fills:
                self._filling.discard(_place(body))

    def list(self, owner: str) -> AsyncIterator[BodyInfo]:
        return self._store.list(owner)

    async def delete(self, owner: str, body_id: BodyId) -> None:
        await self._store.delete(owner, body_id)

    def _begin(self, body: BodyInfo) -> bool:
        """Whether this read fills the cache; one does, however many read the same body at once."""
        if _place(body) in self._filling or not body.size or body.size * _LARGEST_SHARE > self._limit:
            return False
        self._filling.add(_place(body))
        return True

    def _keep(self, place: Place, raw: bytes) -> None:
        self._bodies[place] = raw
        self.size += len(raw)
        while self.size > self._limit:
            _, dropped = self._bodies.popitem(last=False)
            self.size -= len(dropped)


def _place(body: BodyInfo) -> Place:
    return body.owner, body.id
