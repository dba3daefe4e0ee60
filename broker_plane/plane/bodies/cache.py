"""A cache of hot bodies: a BodyStore in front of another. Bodies are immutable, so one verification is enough.

A body is read in blocks, and a block is read once for all concurrent readers: the first reader that misses it starts
the read, with a few of the following blocks, and all of them wait for it. Blocks are dropped least recently used first,
even if somebody still needs them: a reader whose next block was dropped reads it again. So memory is bounded whatever
readers do, and the store limits the bytes in flight.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager

from broker_plane.errors import BodyLostError
from broker_plane.plane.bodies.blocks import PIECE_BYTES, Block, Check
from broker_plane.plane.ports import BodyStore, BodyWriter, Draft
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId

Place = tuple[str, BodyId]
"""Owner and id: an owner may store a body under the id of another owner's body."""

BLOCK_BYTES = 512 << 10
LEAST_BYTES = 8 << 20
"""Working memory of a bridge without a cache: readers at the same place still share a read."""

_AHEAD_BYTES = 8 << 20
_LARGEST_SHARE = 4
"""A body above a quarter of the cache would evict everything else: it gets a quarter, and what others leave."""

_MANY = 64
_SMALL_PIECE_BYTES = 64 << 10
"""The piece size for many readers: each holds one or two pieces if all of them are at different places."""


class CachingBodyStore:
    """Keeps blocks of bodies that were read, `limit` bytes in all.

    Only bytes are cached: whether a body still exists is checked with the store every time.
    """

    def __init__(self, store: BodyStore, limit: int, *, block_bytes: int = BLOCK_BYTES) -> None:
        self._store = store
        self._limit = max(limit, LEAST_BYTES) if block_bytes == BLOCK_BYTES else limit
        self._block_bytes = block_bytes
        self._bodies: dict[Place, _Hot] = {}
        self._small, self._large = _Ring(), _Ring()
        self._readers = 0
        self._places = 0
        self.hits = 0
        self.misses = 0

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self._small.size + self._large.size

    def writer(self, draft: Draft) -> AbstractAsyncContextManager[BodyWriter]:
        return self._store.writer(draft)

    async def info(self, owner: str, body_id: BodyId) -> BodyInfo:
        return await self._store.info(owner, body_id)

    async def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        stop = body.size if stop is None else min(stop, body.size)
        if start >= stop:
            async with aclosing(self._store.read(body, start, stop)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        held = self.held(body) if (start, stop) == (0, body.size) else None
        if held is not None:
            yield held
            return
        with self._reading(body) as hot:
            self._count(hot, start)
            whole = (start, stop) == (0, body.size)
            if whole and hot.count == 1:  # the store verified it
                only = (await self._block(hot, 0, 0)).pieces
                if len(only) == 1:
                    yield only[0]
                    return
            async with aclosing(self._whole(hot) if whole else self._part(hot, start, stop)) as pieces:
                async for piece in pieces:
                    yield piece

    def list(self, owner: str) -> AsyncIterator[BodyInfo]:
        return self._store.list(owner)

    async def delete(self, owner: str, body_id: BodyId) -> None:
        await self._store.delete(owner, body_id)

    def held(self, body: BodyInfo) -> bytes | None:
        """All of a small body, if it is in memory as one piece. The store verified it when it was read."""
        hot = self._bodies.get((body.owner, body.id))
        if hot is None or hot.count != 1 or hot.body != body:
            return None
        block = hot.blocks.get(0)
        if block is None or not block.here or len(block.pieces) != 1:
            return None
        self._ring(hot).move_to_end((hot, 0))
        self.hits += 1
        return block.pieces[0]

    # ── readers ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _whole(self, hot: _Hot) -> AsyncGenerator[bytes, None]:
        """The whole body. The last piece is held back until everything is verified."""
        size = hot.body.size
        hot.wholes += 1
        try:
            async with aclosing(self._part(hot, 0, size, hot.check)) as pieces:
                sent = 0
                async for piece in pieces:
                    sent += len(piece)
                    if sent == size:
                        await self._settled(hot)
                    yield piece
        finally:
            hot.wholes -= 1

    async def _part(self, hot: _Hot, start: int, stop: int, check: Check | None = None) -> AsyncGenerator[bytes, None]:
        at, place = start, -1
        try:
            while at < stop:
                number = at // hot.block_bytes
                if number != place:
                    self._move(hot, place, number)
                    if hot.readers == 1 and self._ring(hot) is self._large:
                        # Memory that is reused at once is faster than new memory, and nobody follows.
                        self._discard(hot, place)
                    place = number
                block = await self._block(hot, number, (stop - 1) // hot.block_bytes)
                if check is not None:
                    await check.add(number, block)
                first = number * hot.block_bytes
                piece = block.piece(at - first, stop - first)
                if not piece:
                    raise BodyLostError("A part of the stored body is gone; publish it again")
                at += len(piece)
                del block  # while its reader uses this piece, the block may be dropped
                yield piece
        finally:
            self._move(hot, place, -1)

    @contextmanager
    def _reading(self, body: BodyInfo) -> Iterator[_Hot]:
        place = body.owner, body.id
        hot = self._bodies.get(place)
        if hot is None or hot.body != body:
            hot = self._bodies[place] = _Hot(body, self._block_bytes)
        hot.readers += 1
        self._readers += 1
        try:
            yield hot
        finally:
            hot.readers -= 1
            self._readers -= 1
            if not hot.readers:
                hot.stop()
                self._tidy(hot)

    def _move(self, hot: _Hot, place: int, number: int) -> None:
        """A reader moves from one block to another; -1 means no block."""
        self._places -= len(hot.places)
        hot.move(place, number)
        self._places += len(hot.places)

    def _count(self, hot: _Hot, start: int) -> None:
        if start // hot.block_bytes in hot.blocks:
            self.hits += 1
        else:
            self.misses += 1

    async def _settled(self, hot: _Hot) -> None:
        try:
            await hot.check.settled()
        except BodyLostError:
            self._forget(hot)
            raise

    # ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _block(self, hot: _Hot, number: int, last: int) -> Block:
        """Block `number`; the following ones, up to `last`, are requested as well if there is room for them."""
        most = self._ahead(hot)
        block = hot.blocks.get(number)
        if block is None:
            block = self._fetch(hot, number, min(last, number + max(1, most) - 1))
        elif block.here:
            self._ring(hot).move_to_end((hot, number))
        for ahead in range(number + 1, min(last, number + most) + 1):
            if ahead not in hot.blocks:
                self._fetch(hot, ahead, min(last, ahead + most - 1))
                break
        await block.wait()
        return block

    def _ahead(self, hot: _Hot) -> int:
        """Blocks of one read; a reader has two reads under way. No read-ahead if readers are spread widely."""
        return min(_AHEAD_BYTES, self._limit // 2 // max(1, self._places)) // hot.block_bytes // 2

    def _fetch(self, hot: _Hot, first: int, last: int) -> Block:
        """Start to read the blocks from `first` on, up to `last` or the first one that is present or requested."""
        stop = first + 1
        # Not all of a body in one read: the store would then verify its digest, which is done here.
        most = last + 1 if first or hot.count == 1 else min(last + 1, hot.count - 1)
        while stop < most and stop not in hot.blocks:
            stop += 1
        blocks = {number: Block() for number in range(first, stop)}
        hot.blocks |= blocks
        task = asyncio.create_task(self._read(hot, blocks))
        hot.reads.add(task)
        task.add_done_callback(hot.reads.discard)
        return blocks[first]

    async def _read(self, hot: _Hot, blocks: dict[int, Block]) -> None:
        missing = list(blocks)
        try:
            async with aclosing(self._parts(hot, missing[0], missing[-1])) as parts:
                async for part in parts:
                    number = missing.pop(0)
                    self._take(hot, number, blocks[number], part)
                    await self._checked(hot, number, blocks[number])
            if missing:
                raise BodyLostError("A part of the stored body is gone; publish it again")
        except BaseException as error:
            for number in missing:
                if hot.blocks.get(number) is blocks[number]:
                    del hot.blocks[number]
                blocks[number].fail(error)
            self._tidy(hot)
            if not isinstance(error, Exception):
                raise

    def _parts(self, hot: _Hot, first: int, last: int) -> AsyncGenerator[Sequence[bytes], None]:
        """The bytes of the blocks from `first` to `last` from the store, block by block."""
        if hot.count == 1:
            return _together(self._store.read(hot.body))
        stop = min(hot.body.size, (last + 1) * hot.block_bytes)
        return _cut(self._store.read(hot.body, first * hot.block_bytes, stop), hot.block_bytes)

    async def _checked(self, hot: _Hot, number: int, block: Block) -> None:
        """Hash it while the next one arrives, if somebody reads the whole body."""
        if hot.count == 1:
            block.checked = True  # the store did
        elif hot.wholes and number <= hot.check.added:
            await hot.check.add(number, block)

    def _take(self, hot: _Hot, number: int, block: Block, chunks: Sequence[bytes]) -> None:
        ring = self._ring(hot)
        if self._readers > _MANY:
            block.fill(chunks, _SMALL_PIECE_BYTES)
        else:
            # Blocks that nobody shares need not be cut into pieces.
            block.fill(chunks, hot.block_bytes if hot.readers == 1 and ring is self._large else PIECE_BYTES)
        ring.put((hot, number), block)
        while self.size > self._limit:
            ring = self._large if self._large.size > self._limit // _LARGEST_SHARE or not self._small else self._small
            (oldest, dropped), _ = ring.oldest()
            del oldest.blocks[dropped]
            self._tidy(oldest)

    def _ring(self, hot: _Hot) -> _Ring:
        """The ring of its blocks: a large body must not evict every small one that is hot."""
        return self._large if hot.body.size * _LARGEST_SHARE > self._limit else self._small

    def _forget(self, hot: _Hot) -> None:
        """Forget a body whose bytes are wrong: the next reader reads it again."""
        if self._bodies.get(hot.place) is hot:
            del self._bodies[hot.place]
        for number in list(hot.blocks):
            self._discard(hot, number)

    def _discard(self, hot: _Hot, number: int) -> None:
        """Drop a block that is in memory."""
        block = hot.blocks.get(number)
        if block is not None and block.here:
            self._ring(hot).drop((hot, number))
            del hot.blocks[number]

    def _tidy(self, hot: _Hot) -> None:
        if not hot.readers and not hot.blocks and self._bodies.get(hot.place) is hot:
            del self._bodies[hot.place]


class _Hot:
    """One body that is being read or was lately."""

    def __init__(self, body: BodyInfo, block_bytes: int) -> None:
        self.body = body
        self.place: Place = body.owner, body.id
        chunk = body.size if body.chunks == 1 else body.chunk_bytes
        # Whole chunks, since less cannot be read.
        self.block_bytes = max(1, -(-block_bytes // chunk)) * chunk
        self.count = -(-body.size // self.block_bytes)
        self.blocks: dict[int, Block] = {}
        self.reads: set[asyncio.Task[None]] = set()
        self.readers = 0
        self.wholes = 0
        self.places: Counter[int] = Counter()
        """The number of readers at each block."""
        self.check = Check(self.count, body.digest)

    def move(self, place: int, number: int) -> None:
        """A reader moves from one block to another; -1 means no block."""
        if number >= 0:
            self.places[number] += 1
        if place >= 0:
            self.places[place] -= 1
            if not self.places[place]:
                del self.places[place]

    def stop(self) -> None:
        """The last reader left: cancel the reads; the next reader starts again."""
        for task in self.reads:
            task.cancel()
        self.blocks = {number: block for number, block in self.blocks.items() if block.here}


class _Ring(OrderedDict[tuple[_Hot, int], Block]):
    """Blocks in memory, least recently used first."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def put(self, key: tuple[_Hot, int], block: Block) -> None:
        self[key] = block
        self.size += block.size

    def oldest(self) -> tuple[tuple[_Hot, int], Block]:
        """Remove the least recently used one."""
        key, block = self.popitem(last=False)
        self.size -= block.size
        return key, block

    def drop(self, key: tuple[_Hot, int]) -> None:
        self.size -= self.pop(key).size


async def _together(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[Sequence[bytes], None]:
    """All the bytes as one part."""
    found = [piece async for piece in pieces]
    if found:
        yield found


async def _cut(pieces: AsyncGenerator[bytes, None], size: int) -> AsyncGenerator[list[bytes], None]:
    """The same bytes in parts of `size`; the last one may be shorter."""
    part: list[bytes] = []
    wanted = size
    async with aclosing(pieces):
        async for piece in pieces:
            rest = piece
            while rest:
                part.append(rest[:wanted])
                rest = rest[wanted:]
                wanted -= len(part[-1])
                if not wanted:
                    yield part
                    part, wanted = [], size
    if part:
        yield part
