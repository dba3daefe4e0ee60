"""Reads bodies in an agent's memory with the code with which a bridge reads those in the plane."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from broker_plane.agent.buffer import Buffer, is_lasting
from broker_plane.agent.held_results import JSON, held_text
from broker_plane.errors import SelectorError
from broker_plane.plane.bodies.opaque_reader import OpaqueReader
from broker_plane.plane.bodies.row_reader import read_rows
from broker_plane.plane.bodies.scope import ScopedBody, ScopedChoice
from broker_plane.plane.fairness.shares import Payer
from broker_plane.plane.fairness.work import Account, Pass, Work
from broker_plane.reading.answers import BodyDescription, ReadAnswer
from broker_plane.reading.request import ReadRequest, parse_read_request
from broker_plane.reading.table_profile import TableProfile
from broker_plane.reading.tokens import TOKEN_BYTES
from broker_plane.tabular.frame import Frame, frame_of
from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.tabular.where import RowFilter
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.caveats import Where
from broker_plane.wire.names import ROW_ID, BodyId
from broker_plane.wire.rows import RowSet, RowSetBuilder, of_ids
from broker_plane.wire.scope import EVERYTHING, check_shown
from broker_plane.wire.selector import Selector
from broker_plane.wire.where import columns_of, parse_where

T = TypeVar("T")
_PAYER = Payer("memory", "")
_MOST_PARSED = 4
"""Bodies whose tables are kept between two readings."""

_BLOCK_ROWS = 4096
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Content:
    """The bytes of a body, and its rows if it is a table."""

    raw: bytes
    media_type: str
    frame: Frame | None


class MemoryReader:
    """Reads the bodies of `buffer`. A reading costs nothing; it takes the arguments of `Plane.read`."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._work = Work()
        self._parsed: OrderedDict[str, _Content] = OrderedDict()

    async def read(
        self, handle: str, *, where: str | None = None, columns: Sequence[str] | None = None, **what: Any
    ) -> ReadAnswer:
        """A part of the body of `handle` as text.

        Raises:
            StaleHandleError, WireError, SelectorError, TooCostlyError.
        """
        request = parse_read_request(ReadRequest(columns=tuple(columns or ()) or None, **what).to_wire())
        content, once = await self._content(handle), self._work.begin_pass(_PAYER)
        most_bytes = request.max_tokens * TOKEN_BYTES
        if content.frame is not None and request.json_path is None:
            rows = _Rows(content.frame)
            visible = of_ids(content.frame.ids) if where is None else await rows.where(where, once)
            return await read_rows(rows, _body(content, visible), request, most_bytes, once)
        if where is not None:
            raise SelectorError("This body is not read as a table: leave out where")
        return await OpaqueReader(_Bytes(content.raw), _body(content), once).read(request, most_bytes)

    async def describe(self, handle: str) -> BodyDescription:
        """What the body of `handle` is.

        Raises:
            StaleHandleError, TooCostlyError.
        """
        content, once = await self._content(handle), self._work.begin_pass(_PAYER)
        if content.frame is None:
            return await OpaqueReader(_Bytes(content.raw), _body(content), once).describe()
        profile = TableProfile(tuple(content.frame.columns))
        for block in _blocks(content.frame):
            await once.do(len(block) * len(block.columns), partial(profile.add, block))
        return profile.description(content.media_type)

    async def _content(self, handle: str) -> _Content:
        body = self._buffer.peek(handle)
        if handle not in self._parsed:
            self._parsed[handle] = await asyncio.to_thread(_parsed, handle, body)
        self._parsed.move_to_end(handle)
        while len(self._parsed) > _MOST_PARSED:
            self._parsed.popitem(last=False)
        return self._parsed[handle]


class _Rows:
    """A frame as the source of a body's rows."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    async def mapped(
        self,
        body: ScopedBody,
        selector: Selector,
        make: Callable[[Frame], T],
        first: int = 0,
        account: Account | None = None,
    ) -> AsyncGenerator[tuple[int, T], None]:
        """The result of `make` for each block with selected rows."""
        choice = ScopedChoice(selector, frozenset(body.info.columns), body.visible)
        for number, block in enumerate(_blocks(self._frame)):
            places = choice.places(block.ids)
            chosen = block if places is None else _at(block, places)
            if number < first or not len(chosen):
                continue
            work = partial(make, chosen)
            yield number, work() if account is None else await account.do(len(chosen) * len(chosen.columns), work)

    async def where(self, text: str, once: Pass) -> RowSet:
        """The rows for which a `where` is true.

        Raises:
            SelectorError: it does not parse, or does not fit the columns.
        """
        for name in sorted(columns_of(parse_where(text))):
            check_shown(name, tuple(self._frame.columns))
        rows, kept = RowFilter([Where(text)]), RowSetBuilder()
        for block in _blocks(self._frame):
            await once.do(len(block), lambda block=block: kept.add(rows.keep(block)))  # type: ignore[misc]
        rows.check()
        return kept.rows()


class _Bytes:
    """Bytes as the source of a body's bytes."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    async def read(self, body: ScopedBody, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to `stop`."""
        end = len(self._raw) if stop is None else min(stop, len(self._raw))
        for place in range(start, end, _PIECE_BYTES):
            yield self._raw[place : min(end, place + _PIECE_BYTES)]


def _parsed(handle: str, body: Any) -> _Content:
    if is_lasting(handle):
        held = held_text(body)
        table = held.table()
        frame = None if table is None else frame_of(table.rows, 0)
        return _Content(held.text.encode("utf-8", "surrogatepass"), held.media_type, frame)
    return _Content(exact_json_bytes(body), JSON, _frame_of_sync(body))


def _frame_of_sync(body: Any) -> Frame | None:
    """The rows of sync mode by their `_row_id`; by position if these are not distinct whole numbers."""
    if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
        return None
    ids = [row.get(ROW_ID) for row in body]
    rows = [{name: value for name, value in row.items() if name != ROW_ID} for row in body]
    if not all(type(number) is int and number >= 0 for number in ids) or len(set(ids)) < len(ids):
        return frame_of(rows, 0)
    order = sorted(range(len(ids)), key=lambda place: ids[place])
    frame = frame_of([rows[place] for place in order], 0)
    return Frame(frame.columns, [ids[place] for place in order], frame.ragged)


def _blocks(frame: Frame) -> list[Frame]:
    return [frame.part(start, start + _BLOCK_ROWS) for start in range(0, len(frame), _BLOCK_ROWS)]


def _at(frame: Frame, places: Sequence[int]) -> Frame:
    columns = {name: [values[place] for place in places] for name, values in frame.columns.items()}
    return Frame(columns, [frame.ids[place] for place in places], frame.ragged)


def _body(content: _Content, visible: RowSet | None = None) -> ScopedBody:
    rows = content.frame is not None and visible is not None
    info = BodyInfo(
        id=BodyId("memory"),
        owner=_PAYER.owner,
        kind="rows" if rows else "bytes",
        size=len(content.raw),
        digest="",
        media_type=content.media_type,
        expires=0,
        created=0,
        rows=len(visible) if visible is not None else None,
        columns=tuple(content.frame.columns) if content.frame is not None else (),
        chunks=0,
        chunk_bytes=1,
    )
    return ScopedBody(info, info, EVERYTHING, visible)
