"""Hot bodies in memory: a BodyStore in front of another. Bodies are immutable: verified once is right.

A body is read in blocks, and a block is read once however many readers want it: the first one that misses it starts
the read, with a few of the following blocks, and all of them wait for it. Blocks stay until others need their room,
least recently used first, whoever may still want them: a reader that is so slow that its next block was dropped reads
it again. So memory is bounded whatever readers do, and how much is asked of the store at a time is the store's to say.
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
"""Owner and id: an owner may put a body into its bucket under the id of another one's."""

BLOCK_BYTES = 512 << 10
LEAST_BYTES = 8 << 20
"""Working memory of a bridge that is to keep nothing: readers at the same place share a read all the same."""

_AHEAD_BYTES = 8 << 20
_LARGEST_SHARE = 4
"""A body above a quarter of the cache would push out everything else: it has a quarter, and what others leave."""

_MANY = 64
_SMALL_PIECE_BYTES = 64 << 10
"""For many readers: each holds a piece or two of its own where all of them are at different places."""


class CachingBodyStore:
    """Keeps blocks of bodies that were read, `limit` bytes in all.

    Whether a body is still there is asked of the store every time: only its bytes are remembered.
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
        with self._reading(body) as hot:
            self._count(hot, start)
            whole = (start, stop) == (0, body.size)
            async with aclosing(self._whole(hot) if whole else self._part(hot, start, stop)) as pieces:
                async for piece in pieces:
                    yield piece

    def list(self, owner: str) -> AsyncIterator[BodyInfo]:
        return self._store.list(owner)

    async def delete(self, owner: str, body_id: BodyId) -> None:
        await self._store.delete(owner, body_id)

    # ── readers ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _whole(self, hot: _Hot) -> AsyncGenerator[bytes, None]:
        """The whole body. The last piece is held back until everything is known to be right."""
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
                        # Memory that is used again at once is faster than new memory, and nobody follows.
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
                del block  # while its reader takes this piece, the block may go
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
        """A reader goes from one block to another; -1 is none."""
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
        """Block `number`; those after it, up to `last`, are asked for as well where there is room for them."""
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
        """Blocks of one read; two reads of a reader are under way. None for later where readers are all over."""
        return min(_AHEAD_BYTES, self._limit // 2 // max(1, self._places)) // hot.block_bytes // 2

    def _fetch(self, hot: _Hot, first: int, last: int) -> Block:
        """Begin to read the blocks from `first` on, up to `last` or the first one that is here already."""
        stop = first + 1
        # Not all of a body in one read: the store would then check its digest, which is done here.
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
            first = missing[0] * hot.block_bytes
            stop = min(hot.body.size, (missing[-1] + 1) * hot.block_bytes)
            async with aclosing(_cut(self._store.read(hot.body, first, stop), hot.block_bytes)) as parts:
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

    async def _checked(self, hot: _Hot, number: int, block: Block) -> None:
        """Hash it while the next one comes, where somebody reads the whole body."""
        if hot.count == 1:
            block.checked = True  # the store did
        elif hot.wholes and number <= hot.check.added:
            await hot.check.add(number, block)

    def _take(self, hot: _Hot, number: int, block: Block, chunks: Sequence[bytes]) -> None:
        ring = self._ring(hot)
        if self._readers > _MANY:
            block.fill(chunks, _SMALL_PIECE_BYTES)
        else:
            # What nobody shares need not be cut into pieces that are shared.
            block.fill(chunks, hot.block_bytes if hot.readers == 1 and ring is self._large else PIECE_BYTES)
        ring.put((hot, number), block)
        while self.size > self._limit:
            ring = self._large if self._large.size > self._limit // _LARGEST_SHARE or not self._small else self._small
            (oldest, dropped), _ = ring.oldest()
            del oldest.blocks[dropped]
            self._tidy(oldest)

    def _ring(self, hot: _Hot) -> _Ring:
        """Where its blocks are: a large body passing by must not push out every small one that is hot."""
        return self._large if hot.body.size * _LARGEST_SHARE > self._limit else self._small

    def _forget(self, hot: _Hot) -> None:
        """Its bytes are not right: whoever comes next reads it anew."""
        if self._bodies.get(hot.place) is hot:
            del self._bodies[hot.place]
        for number in list(hot.blocks):
            self._discard(hot, number)

    def _discard(self, hot: _Hot, number: int) -> None:
        """A block that is here goes."""
        block = hot.blocks.get(number)
        if block is not None and block.here:
            self._ring(hot).drop((hot, number))
            del hot.blocks[number]

    def _tidy(self, hot: _Hot) -> None:
        if not hot.readers and not hot.blocks and self._bodies.get(hot.place) is hot:
            del self._bodies[hot.place]


class _Hot:
    """One body that is read or was lately."""

    def __init__(self, body: BodyInfo, block_bytes: int) -> None:
        self.body = body
        self.place: Place = body.owner, body.id
        chunk = body.size if body.chunks == 1 else body.chunk_bytes
        # Whole chunks, since no less can be read.
        self.block_bytes = max(1, -(-block_bytes // chunk)) * chunk
        self.count = -(-body.size // self.block_bytes)
        self.blocks: dict[int, Block] = {}
        self.reads: set[asyncio.Task[None]] = set()
        self.readers = 0
        self.wholes = 0
        self.places: Counter[int] = Counter()
        """How many readers are at which block."""
        self.check = Check(self.count, body.digest)

    def move(self, place: int, number: int) -> None:
        """A reader goes from one block to another; -1 is none."""
        if number >= 0:
            self.places[number] += 1
        if place >= 0:
            self.places[place] -= 1
            if not self.places[place]:
                del self.places[place]

    def stop(self) -> None:
        """Nobody reads it: what is being read comes to no use, and whoever comes next begins anew."""
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
        """The one that was not used for the longest time, which is dropped."""
        key, block = self.popitem(last=False)
        self.size -= block.size
        return key, block

    def drop(self, key: tuple[_Hot, int]) -> None:
        self.size -= self.pop(key).size


async def _cut(pieces: AsyncGenerator[bytes, None], size: int) -> AsyncGenerator[list[bytes], None]:
    """The same bytes in parts of `size`, but for the last."""
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
