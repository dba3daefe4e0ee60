"""Delivering a body to whoever holds a grant: what the bridge and the presigned subject both serve from."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass

from broker_plane.errors import DigestMismatchError, SelectorError
from broker_plane.plane.grants import Grants, Lease, Opened
from broker_plane.plane.ports import BodyStore, Broker, Readiness
from broker_plane.tabular.codec import FrameReader, FrameTable, FrameWriter, RawFrame, digest_of, read_table
from broker_plane.tabular.frame import Frame
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.selector import WHOLE, Selector


@dataclass(frozen=True, slots=True)
class CutFrame:
    """One frame of a cut body: its number in the stored body, its rows, and its bytes in the same encoding."""

    number: int
    rows: int
    raw: bytes


class Deliveries:
    """Open, find, claim, read, then finish or release: in this order, so that a refused asker uses nothing up."""

    def __init__(self, store: BodyStore, grants: Grants, broker: Broker) -> None:
        self._store = store
        self._grants = grants
        self._broker = broker

    async def open(self, text: str) -> Opened:
        """Seal and expiry of a grant. Raises GrantRefusedError (404) or GrantExpiredError (410)."""
        return await self._grants.open(text)

    async def find(self, opened: Opened) -> BodyInfo:
        """The body that the grant is for. Raises BodyNotFoundError where it was deleted: the holder was genuine."""
        return await self._store.info(opened.owner, opened.grant.body)

    async def claim(self, opened: Opened, asker: str) -> Lease:
        """A lease on one use. Raises GrantUsedError (410), GrantInUseError (409)."""
        return await self._grants.claim(opened.grant, asker)

    def kept(self, lease: Lease) -> AbstractAsyncContextManager[None]:
        """Renews the lease while the block runs; every delivery that may take longer than its lease runs in one."""
        return self._grants.kept(lease)

    async def renew(self, lease: Lease) -> None:
        await self._grants.renew(lease)

    async def release(self, lease: Lease, sent: float) -> None:
        """The delivery broke after the fraction `sent`: the use comes back."""
        await self._grants.release(lease, sent)

    async def finish(self, lease: Lease) -> None:
        """One completed delivery."""
        await self._grants.finish(lease)

    def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """The stored bytes; see `BodyStore.read`."""
        return self._store.read(body, start, stop)

    async def frames(self, body: BodyInfo, selector: Selector = WHOLE) -> AsyncGenerator[Frame, None]:
        """Decoded frames of what `selector` names; no other column is decoded.

        Raises:
            SelectorError: before the first frame.
            BodyLostError: what it decodes is not what was stored.
        """
        async with aclosing(self._raw_frames(body, selector, 0)) as frames:
            async for _, frame in frames:
                yield frame.decode(selector)

    async def cut(
        self, body: BodyInfo, selector: Selector, first: int = 0, *, writer: FrameWriter | None = None
    ) -> AsyncGenerator[CutFrame, None]:
        """The same rows in the stored encoding, a frame at a time from frame `first` on.

        Magic and table are `writer`'s, for who wants them.
        """
        writer = writer or FrameWriter()
        async with aclosing(self._raw_frames(body, selector, first)) as frames:
            async for number, frame in frames:
                raw = frame.cut(selector, writer)
                yield CutFrame(number, writer.table.frames[-1].rows, raw)

    async def ready(self) -> Readiness:
        return await self._broker.ready()

    async def _raw_frames(
        self, body: BodyInfo, selector: Selector, first: int
    ) -> AsyncGenerator[tuple[int, RawFrame], None]:
        check_selector(body, selector)
        table = await self._table(body)
        numbers = [number for number in _numbers(table, selector) if number >= first]
        for start, stop in _runs(numbers):
            end = _end(body, table, stop)
            async with aclosing(self._store.read(body, table.frames[start].offset, end)) as pieces:
                async for number, frame in _numbered(pieces, start):
                    _verify_header(table, number, frame)
                    yield number, frame

    async def _table(self, body: BodyInfo) -> FrameTable:
        if body.table is None:
            raise SelectorError("This body has no rows; pull it whole")
        start = body.table.offset
        raw = b"".join([piece async for piece in self._store.read(body, start, start + body.table.size)])
        return read_table(raw, body.table.digest)


def check_selector(body: BodyInfo, selector: Selector) -> None:
    """Raise SelectorError unless `body` has what `selector` names."""
    if selector.whole:
        return
    if body.kind != "rows":
        raise SelectorError("This body is opaque: it has neither columns nor rows to select")
    selector.check(body.columns, body.rows or 0)


async def _numbered(pieces: AsyncGenerator[bytes, None], first: int) -> AsyncGenerator[tuple[int, RawFrame], None]:
    reader = FrameReader(from_start=False)
    number = first
    async for piece in pieces:
        for frame in reader.feed(piece):
            yield number, frame
            number += 1


def _verify_header(table: FrameTable, number: int, frame: RawFrame) -> None:
    if digest_of(frame.header) != table.frames[number].digest:
        raise DigestMismatchError("A frame of the body is damaged; publish the body again")


def _numbers(table: FrameTable, selector: Selector) -> list[int]:
    """The frames that hold one of the selected rows."""
    if selector.row_ids is None:
        return list(range(len(table.frames)))
    asked = sorted(selector.row_ids)
    numbers, first, place = [], 0, 0
    for number, entry in enumerate(table.frames):
        if place < len(asked) and asked[place] < first + entry.rows:
            numbers.append(number)
        first += entry.rows
        while place < len(asked) and asked[place] < first:
            place += 1
    return numbers


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Consecutive numbers as half-open ranges, so that each is one read."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs


def _end(body: BodyInfo, table: FrameTable, stop: int) -> int:
    if stop < len(table.frames):
        return table.frames[stop].offset
    # The end marker, four zero bytes, stands between the last frame and the table.
    return (body.table.offset if body.table else body.size) - 4
