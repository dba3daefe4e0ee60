"""The cache of hot bodies: one read of the store for all who come at once, each at its own pace, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from broker_plane.errors import BodyLostError
from broker_plane.plane.cache import CachingBodyStore
from broker_plane.plane.ports import BodyStore
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId

pytestmark = pytest.mark.anyio
PIECE = 1000
PIECES = 10


class Store:
    """Yields ten pieces of a body, each when `more` says so; counts the reads."""

    def __init__(self) -> None:
        self.reads = 0
        self.closed = 0
        self.more = asyncio.Semaphore(0)
        self.fails_at = -1

    async def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        try:
            raw = content(body)[start:stop]
            for place in range(0, len(raw), PIECE):
                await self.more.acquire()
                if place == self.fails_at:
                    raise BodyLostError("gone")
                yield raw[place : place + PIECE]
        finally:
            self.closed += 1

    def give(self, count: int) -> None:
        for _ in range(count):
            self.more.release()


def body_of(name: str) -> BodyInfo:
    fields: dict[str, Any] = {"owner": "o", "kind": "bytes", "digest": "", "media_type": "", "created": 0, "expires": 0}
    return BodyInfo(id=BodyId(name), size=PIECE * PIECES, chunks=1, chunk_bytes=1, **fields)


def content(body: BodyInfo) -> bytes:
    return b"".join(f"{body.id}{number}".encode().ljust(PIECE) for number in range(PIECES))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cache(store: Store) -> CachingBodyStore:
    """With room for four bodies."""
    return CachingBodyStore(cast("BodyStore", store), 4 * PIECE * PIECES)


async def settle() -> None:
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def read(cache: CachingBodyStore, body: BodyInfo, start: int = 0, stop: int | None = None) -> bytes:
    async with aclosing(cache.read(body, start, stop)) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_who_comes_at_once_and_who_comes_midway_share_one_read(cache: CachingBodyStore, store: Store) -> None:
    body = body_of("hot")
    readers = [asyncio.create_task(read(cache, body)) for _ in range(50)]
    await settle()
    store.give(5)
    await settle()
    readers += [asyncio.create_task(read(cache, body)) for _ in range(50)]
    await settle()
    store.give(5)
    assert set(await asyncio.gather(*readers)) == {content(body)}
    assert store.reads == 1
    assert await read(cache, body, 1500, 4200) == content(body)[1500:4200]
    assert store.reads == 1


async def test_nobody_is_slowed_to_the_pace_of_the_slowest(cache: CachingBodyStore, store: Store) -> None:
    body = body_of("hot")
    store.give(PIECES)
    async with aclosing(cache.read(body)) as slow:
        first = await anext(slow)
        assert await read(cache, body) == content(body)
        assert first + b"".join([piece async for piece in slow]) == content(body)
    assert store.reads == 1


async def test_what_fails_fails_for_all_of_them_and_is_read_anew_by_the_next(
    cache: CachingBodyStore, store: Store
) -> None:
    body = body_of("hot")
    store.fails_at = 5 * PIECE
    readers = [asyncio.create_task(read(cache, body)) for _ in range(3)]
    await settle()
    store.give(6)
    ends = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(end) for end in ends] == [BodyLostError] * 3
    assert cache.size == 0
    store.fails_at = -1
    store.give(PIECES)
    assert await read(cache, body) == content(body)
    assert store.reads == 2


async def test_a_read_that_nobody_wants_any_more_ends(cache: CachingBodyStore, store: Store) -> None:
    body = body_of("hot")
    readers = [asyncio.create_task(read(cache, body)) for _ in range(3)]
    await settle()
    store.give(2)
    await settle()
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    late = asyncio.create_task(read(cache, body))
    await settle()
    assert (store.closed, cache.size) == (1, body.size)
    store.give(PIECES)
    assert await late == content(body)


async def test_what_is_being_read_is_counted_and_never_pushed_out(cache: CachingBodyStore, store: Store) -> None:
    store.give(100 * PIECES)
    async with anyio.create_task_group() as group:
        held = anyio.Event()

        async def hold(body: BodyInfo) -> None:
            async with aclosing(cache.read(body)) as pieces:
                await anext(pieces)
                await held.wait()
                assert len(b"".join([piece async for piece in pieces])) == body.size - PIECE

        for number in range(8):
            group.start_soon(hold, body_of(f"held{number}"))
        await settle()
        assert cache.size == 4 * PIECE * PIECES
        reads = store.reads
        for _ in range(3):
            assert await read(cache, body_of("other")) == content(body_of("other"))
        assert store.reads == reads + 3
        assert cache.size == 4 * PIECE * PIECES
        held.set()
    await read(cache, body_of("other"))
    await read(cache, body_of("other"))
    assert store.reads == reads + 4
    assert cache.size == 4 * PIECE * PIECES
