"""Reads some rows of a body within a budget: a page, a range, the first or last ones, or those that match."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

from broker_plane.errors import SelectorError
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.fairness.work import Account, Pass
from broker_plane.reading.answers import ReadAnswer
from broker_plane.reading.patterns import COMPILE_COST, LinePattern
from broker_plane.reading.request import PAGE_ROWS, ReadRequest
from broker_plane.reading.row_ranges import (
    before_number,
    first_ids,
    from_number,
    ids_at,
    parse_row_ranges,
    shared_ids,
    shown_ranges,
)
from broker_plane.reading.row_text import RowSearch, RowText
from broker_plane.tabular.frame import Frame
from broker_plane.wire.bounds import MAX_SAFE_INT
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.rows import RowSet, all_rows, of_ranges
from broker_plane.wire.selector import Selector

T = TypeVar("T")
Add = Callable[[Frame], None]
_LEAST_ROW = 2
"""The shortest line of a row in bytes: a digit of its id, and the line break."""

_SEARCHED_AT_ONCE = 1 << 20
"""Row ids that a search selects at a time."""


class FrameSource(Protocol):
    """Where the rows of a body come from: `ScopedFrames`, or the memory of an agent."""

    def mapped(
        self,
        body: ScopedBody,
        selector: Selector,
        make: Callable[[Frame], T],
        first: int = 0,
        account: Account | None = None,
    ) -> AsyncGenerator[tuple[int, T], None]: ...


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows to show. `wanted` is what the request named, `next` how to go on if all of them fit."""

    ids: array[int]
    wanted: RowSet
    next: str | None = None
    last: bool = False


async def read_rows(
    frames: FrameSource, body: ScopedBody, request: ReadRequest, most_bytes: int, once: Pass
) -> ReadAnswer:
    """The rows that `request` names, as CSV.

    Raises:
        SelectorError: it names an unknown column, or is for JSON. And as `FrameSource.mapped`.
    """
    if request.json_path is not None:
        raise SelectorError("This body has rows: read it with page, rows, grep, where and columns, without json_path")
    columns = _columns(body, request)
    return await _RowReader(frames, body, columns, most_bytes, once).read(request)


class _RowReader:
    def __init__(
        self, frames: FrameSource, body: ScopedBody, columns: tuple[str, ...], most_bytes: int, once: Pass
    ) -> None:
        self._frames = frames
        self._body = body
        self._columns = columns
        self._most_bytes = most_bytes
        self._once = once
        self._visible = all_rows(body.info.rows or 0) if body.visible is None else body.visible

    async def read(self, request: ReadRequest) -> ReadAnswer:
        if request.grep is not None:
            pattern = await self._once.do(COMPILE_COST, partial(LinePattern, request.grep))
            return await self._search(request, pattern)
        part = await self._once.do(len(self._visible.starts) // 4, partial(self._part, request))
        text = RowText(self._columns, self._most_bytes, last=part.last)
        await self._collect(Selector(self._columns, part.ids), text.add, text)
        return self._answer(text, self._next(part, text), len(self._visible))

    def _part(self, request: ReadRequest) -> _Part:
        """The rows that a request without `grep` names: no more than could fit."""
        total, most = len(self._visible), self._most_bytes // _LEAST_ROW + 1
        if request.rows is not None:
            wanted = parse_row_ranges(request.rows)
            return _Part(first_ids(self._visible, wanted, most), wanted)
        if request.tail is not None:
            ids = ids_at(self._visible, max(0, total - min(request.tail, most)), total)
            return _Part(ids, _all_from(ids), last=True)
        page = request.page or 1
        start, stop = (page - 1) * PAGE_ROWS, page * PAGE_ROWS
        if request.head is not None:
            start, stop = 0, min(request.head, most)
        ids = ids_at(self._visible, start, stop)
        if request.head is not None:
            return _Part(ids, _all_from(ids), f"rows={ids[-1] + 1}-" if stop < total else None)
        every = of_ranges([(ids[0], MAX_SAFE_INT)] if ids else [])
        return _Part(ids, every, f"page={page + 1}" if stop < total else None)

    def _next(self, part: _Part, text: RowText) -> str | None:
        if part.last:
            left = before_number(of_ranges([(part.ids[0], MAX_SAFE_INT)]), text.first) if part.ids else of_ranges([])
            return f"rows={shown_ranges(left)}" if left.starts else None
        return (None if text.full else part.next) or self._left(part.wanted, text.after)

    def _left(self, wanted: RowSet, after: int) -> str | None:
        """How to go on with those of `wanted` from row `after` on, if one of them is visible; 0: no row was shown."""
        left = from_number(wanted, after or MAX_SAFE_INT)
        return f"rows={shown_ranges(left)}" if first_ids(self._visible, left, 1) else None

    async def _search(self, request: ReadRequest, pattern: LinePattern) -> ReadAnswer:
        wanted = None if request.rows is None else parse_row_ranges(request.rows)
        text = RowText(self._columns, self._most_bytes)
        search = RowSearch(self._columns, pattern)

        def add(frame: Frame) -> None:
            for place in search.places(frame):
                text.add(frame, (place,))
                if text.full:
                    return

        for selector in self._searched(wanted):
            if not text.full:
                await self._collect(selector, add, text)
        every = of_ranges([(0, MAX_SAFE_INT)]) if wanted is None else wanted
        left = f"rows={shown_ranges(from_number(every, text.after))}" if text.full else None
        return self._answer(text, left, None if text.full else len(text))

    def _searched(self, wanted: RowSet | None) -> Iterator[Selector]:
        if wanted is None:
            yield Selector(self._columns)
            return
        ids = iter(shared_ids(self._visible, wanted))
        while some := array("Q", islice(ids, _SEARCHED_AT_ONCE)):
            yield Selector(self._columns, some)

    async def _collect(self, selector: Selector, add: Add, text: RowText) -> None:
        """Hand the selected frames to `add`, until `text` is full."""
        if selector.row_ids is not None and not selector.row_ids:
            return
        frames = self._frames.mapped(self._body, selector, add, account=self._once)
        async with aclosing(frames) as made:
            async for _ in made:
                if text.full:
                    return

    def _answer(self, text: RowText, more: str | None, total: int | None) -> ReadAnswer:
        return ReadAnswer(
            text=text.text, unit="rows", first=text.first, count=len(text), total=total, next=more, cut=text.cut
        )


def _columns(body: ScopedBody, request: ReadRequest) -> tuple[str, ...]:
    """The columns to show, without `_row_id`, which is shown in any case."""
    if request.columns is None:
        return body.info.columns
    names = tuple(name for name in request.columns if name != ROW_ID)
    body.check(replace(Selector(), columns=names))
    return names


def _all_from(ids: array[int]) -> RowSet:
    return of_ranges([(ids[0], ids[-1] + 1)] if ids else [])
