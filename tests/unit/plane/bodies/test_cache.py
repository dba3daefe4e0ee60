"""The cache of hot bodies: one read of the store for all who come at once, each at its own pace, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker_plane.errors import BodyLostError, DigestMismatchError
from broker_plane.plane.bodies.cache import CachingBodyStore
from broker_plane.plane.ports import BodyStore
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId
from tests.examples import examples

pytestmark = pytest.mark.anyio
PIECE = 1000
PIECES = 10


class Store:
    """Yields pieces of a body, each when `more` says so; counts the reads, and how often each piece was read."""

    def __init__(self) -> None:
        self.reads = 0
        self.under_way = 0
        self.pieces: Counter[tuple[str, int]] = Counter()
        self.more = asyncio.Semaphore(0)
        self.fails_at = -1
        self.damaged = False

    def held(self, body: BodyInfo) -> bytes | None:
        """Nothing is kept in memory."""
        return None

    async def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        self.under_way += 1
        try:
            for place in range(start, body.size if stop is None else stop, PIECE):
                await self.more.acquire()
                if place == self.fails_at:
                    raise BodyLostError("gone")
                self.pieces[body.id, place // PIECE] += 1
                piece = content(body)[place : min(place + PIECE, body.size if stop is None else stop)]
                yield bytes(len(piece)) if self.damaged else piece
        finally:
            self.under_way -= 1

    def give(self, count: int) -> None:
        for _ in range(count):
            self.more.release()


def body_of(name: str) -> BodyInfo:
    fields: dict[str, Any] = {"owner": "o", "kind": "bytes", "media_type": "", "created": 0, "expires": 0}
    digest = sha256(made(name)).hexdigest()
    return BodyInfo(id=BodyId(name), size=PIECE * PIECES, digest=digest, chunks=PIECES, chunk_bytes=PIECE, **fields)


def made(name: str, pieces: int = PIECES) -> bytes:
    return b"".join(f"{name}{number}".encode().ljust(PIECE) for number in range(pieces))


def content(body: BodyInfo) -> bytes:
    return made(body.id, body.size // PIECE)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cache(store: Store) -> CachingBodyStore:
    """With room for four bodies."""
    return cache_of(store, 4 * PIECE * PIECES)


def cache_of(store: Store, limit: int) -> CachingBodyStore:
    return CachingBodyStore(cast("BodyStore", store), limit, block_bytes=PIECE)


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
    store.give(PIECES)
    assert set(await asyncio.gather(*readers)) == {content(body)}
    assert set(store.pieces.values()) == {1}
    assert await read(cache, body, 1500, 4200) == content(body)[1500:4200]
    assert set(store.pieces.values()) == {1}


async def test_nobody_is_slowed_to_the_pace_of_the_slowest(cache: CachingBodyStore, store: Store) -> None:
    body = body_of("hot")
    store.give(PIECES)
    async with aclosing(cache.read(body)) as slow:
        first = await anext(slow)
        assert await read(cache, body) == content(body)
        assert first + b"".join([piece async for piece in slow]) == content(body)
    assert set(store.pieces.values()) == {1}


async def test_what_fails_fails_for_all_of_them_and_is_read_anew_by_the_next(
    cache: CachingBodyStore, store: Store
) -> None:
    body = body_of("hot")
    store.fails_at = 5 * PIECE
    store.give(PIECES)
    readers = [asyncio.create_task(read(cache, body)) for _ in range(3)]
    ends = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(end) for end in ends] == [BodyLostError] * 3
    store.fails_at = -1
    store.give(3 * PIECES)
    assert await read(cache, body) == content(body)


async def test_a_read_that_nobody_wants_any_more_ends(cache: CachingBodyStore, store: Store) -> None:
    body = body_of("hot")
    readers = [asyncio.create_task(read(cache, body)) for _ in range(3)]
    await settle()
    store.give(2)
    await settle()
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    late = asyncio.create_task(read(cache, body))  # joins nothing that ends
    await settle()
    store.give(3 * PIECES)
    assert await late == content(body)
    assert store.under_way == 0


@pytest.mark.parametrize("limit", [1, 3, 5, 10, 15, 39, 40, 80])
async def test_memory_is_bounded_whatever_readers_hold_and_all_get_their_bytes(store: Store, limit: int) -> None:
    cache = cache_of(store, limit * PIECE)
    store.give(10_000)
    most = 0

    async def hold(body: BodyInfo, pace: int) -> None:
        nonlocal most
        received = b""
        async with aclosing(cache.read(body)) as pieces:
            async for piece in pieces:
                received += piece
                most = max(most, cache.size)
                for _ in range(pace):
                    await anyio.lowlevel.checkpoint()
        assert received == content(body)

    async with anyio.create_task_group() as group:
        for number in range(24):
            group.start_soon(hold, body_of(f"held{number % 8}"), 3 * number)
    assert most <= limit * PIECE
    assert cache.size <= limit * PIECE


async def test_who_is_too_slow_reads_its_blocks_again_and_holds_nothing_of_them(store: Store) -> None:
    cache = cache_of(store, 3 * PIECE)
    store.give(10_000)
    body = body_of("slow")
    async with aclosing(cache.read(body)) as slow:
        got = await anext(slow)
        for number in range(5):
            await read(cache, body_of(f"other{number}"))
        async for piece in slow:
            got += piece
    assert got == content(body)


async def test_a_large_body_that_passes_by_does_not_push_out_what_is_hot(store: Store) -> None:
    cache = cache_of(store, 60 * PIECE)
    store.give(10_000)
    hot = [body_of(f"hot{number}") for number in range(4)]
    for body in hot:
        await read(cache, body)
    fields: dict[str, Any] = {"size": 40 * PIECE * PIECES, "chunks": 40 * PIECES}
    large = replace(body_of("large"), **fields)
    async with aclosing(cache.read(large, 0, 30 * PIECE * PIECES)) as pieces:
        async for _ in pieces:
            pass
    reads = store.pieces.copy()
    for body in hot:
        await read(cache, body)
    assert store.pieces == reads


@pytest.mark.parametrize("readers", [1, 2, 10])
async def test_damage_shows_before_the_last_piece_and_is_not_kept(store: Store, readers: int) -> None:
    cache = cache_of(store, 40 * PIECE)
    store.give(10_000)
    store.damaged = True
    body = body_of("hot")

    async def attempt() -> int:
        received = 0
        with pytest.raises(DigestMismatchError):
            async with aclosing(cache.read(body)) as pieces:
                async for piece in pieces:
                    received += len(piece)
        return received

    for received in await asyncio.gather(*(attempt() for _ in range(readers))):
        assert received < body.size
    assert cache.size == 0
    store.damaged = False
    assert await read(cache, body) == content(body)


async def test_a_block_that_comes_back_otherwise_than_it_was_shows(store: Store) -> None:
    cache = cache_of(store, 3 * PIECE)
    store.give(10_000)
    body = body_of("hot")
    async with aclosing(cache.read(body)) as slow:
        await anext(slow)
        assert await read(cache, body) == content(body)
        store.damaged = True
        with pytest.raises(DigestMismatchError):
            async for _ in slow:
                pass


@given(
    ranges=st.lists(st.tuples(st.integers(0, PIECE * PIECES), st.integers(0, PIECE * PIECES)), max_size=12),
    limit=st.integers(1, 40),
)
@hypothesis_settings(deadline=None, max_examples=examples(0.6))
def test_any_ranges_at_once_are_those_bytes(ranges: list[tuple[int, int]], limit: int) -> None:
    async def run() -> None:
        store = Store()
        store.give(10_000)
        cache, body = cache_of(store, limit * PIECE), body_of("hot")
        wanted = [(min(each), max(each)) for each in ranges]
        found = await asyncio.gather(*(read(cache, body, start, stop) for start, stop in wanted))
        assert found == [content(body)[start:stop] for start, stop in wanted]
        assert cache.size <= limit * PIECE

    asyncio.run(run())
