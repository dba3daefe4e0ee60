"""Reading the frames of a stored rows body: those that hold what was asked for, each checked against the table."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from itertools import accumulate

from broker_plane.errors import DigestMismatchError, EncodingError, SelectorError
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.fairness.work import Account
from broker_plane.plane.ports import BodyStore
from broker_plane.tabular.chunks import digest_of
from broker_plane.tabular.codec import FrameEntry, FrameReader, FrameTable, RawFrame, read_table
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.rows import RowSet
from broker_plane.wire.selector import Selector

_END_BYTES = 4
"""Of the end marker, which stands between the last frame and the table."""


class StoredFrames:
    """The frames of bodies in `store`."""

    def __init__(self, store: BodyStore) -> None:
        self._store = store

    async def raw(
        self, body: ScopedBody, selector: Selector, first: int, account: Account
    ) -> AsyncGenerator[tuple[int, RawFrame], None]:
        """The frames from `first` on that hold a row that `selector` names, each with its number in the body.

        `selector` was checked.

        Raises:
            SelectorError: the body has no rows.
            DigestMismatchError: a header is not the one that was stored.
            EncodingError: the frames are no body, or contradict its table or its metadata.
        """
        table = await self._table(body.stored, account)
        first_rows = list(accumulate((entry.rows for entry in table.frames), initial=0))
        columns = set(table.columns)
        found = _numbers(table, selector, body.visible)
        if not found and table.frames:  # its columns and their types, without a row
            found = [0]
        numbers = [number for number in found if number >= first]
        for start, stop in _runs(numbers):
            end = _end(body.stored, table, stop)
            number = start
            async with aclosing(self._store.read(body.stored, table.frames[start].offset, end)) as pieces:
                async for frame in _frames(pieces):
                    _check(table.frames[number] if number < stop else None, frame, first_rows[number], columns)
                    yield number, frame
                    number += 1
            if number < stop:
                raise EncodingError("The body has fewer groups of rows than its table says")

    async def _table(self, body: BodyInfo, account: Account) -> FrameTable:
        if body.table is None:
            raise SelectorError("This body has no rows; pull it whole")
        start = body.table.offset
        raw = b"".join([piece async for piece in self._store.read(body, start, start + body.table.size)])
        table = await account.do(len(raw) // 16, partial(read_table, raw, body.table.digest, start - _END_BYTES))
        # A version of a feed is shown with the columns that the feed got later; they stand behind its own.
        if table.rows != body.rows or tuple(table.columns) != body.columns[: len(table.columns)]:
            raise EncodingError("The body's frame table and its metadata contradict each other")
        return table


async def _frames(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[RawFrame, None]:
    reader = FrameReader(from_start=False)
    async for piece in pieces:
        for frame in reader.feed(piece):
            yield frame


def _check(entry: FrameEntry | None, frame: RawFrame, first: int, columns: set[str]) -> None:
    """Raise unless the table vouches for the header of `frame`, and the header says what the table says."""
    if entry is None:
        raise EncodingError("The body has more groups of rows than its table says")
    if digest_of(frame.header) != entry.digest:
        raise DigestMismatchError("A frame of the body is damaged; publish the body again")
    if frame.ids != range(first, first + entry.rows) or not columns.issuperset(chunk.name for chunk in frame.chunks):
        raise EncodingError("A group of rows has other rows or columns than the body's table says")


def _numbers(table: FrameTable, selector: Selector, visible: RowSet | None) -> list[int]:
    """The frames that hold one of the selected rows; what was selected by id is visible, or was refused."""
    if selector.row_ids is None:
        return list(range(len(table.frames))) if visible is None else _holding(table, visible)
    asked = selector.ordered
    numbers, first, place = [], 0, 0
    for number, entry in enumerate(table.frames):
        if place < len(asked) and asked[place] < first + entry.rows:
            numbers.append(number)
        first += entry.rows
        place = bisect_left(asked, first, lo=place)
    return numbers


def _holding(table: FrameTable, visible: RowSet) -> list[int]:
    numbers, first = [], 0
    for number, entry in enumerate(table.frames):
        if visible.overlaps(first, first + entry.rows):
            numbers.append(number)
        first += entry.rows
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
    return (body.table.offset if body.table else body.size) - _END_BYTES
