"""Reads a part of an opaque body for a reader with a budget: lines of a text, values of JSON, or bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from time import thread_time
from typing import Protocol

from broker_plane.errors import SelectorError, TooCostlyError, TooLargeError
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.fairness.work import Pass
from broker_plane.reading.answers import BodyDescription, Kind, ReadAnswer
from broker_plane.reading.byte_text import byte_text, most_shown
from broker_plane.reading.json_path import Tick, parse_json_path
from broker_plane.reading.json_profile import json_description
from broker_plane.reading.json_scan import NotJsonError
from broker_plane.reading.json_text import json_answer
from broker_plane.reading.kinds import SNIFFED_BYTES, opaque_kind
from broker_plane.reading.line_splitter import LineSplitter, Stretch
from broker_plane.reading.line_text import LastLines, LineRange, LineSearch, LineText
from broker_plane.reading.patterns import COMPILE_COST, LinePattern
from broker_plane.reading.request import PAGE_BYTES, PAGE_LINES, ReadRequest
from broker_plane.reading.row_ranges import from_number, parse_row_ranges, shown_ranges
from broker_plane.reading.text_profile import TextProfile
from broker_plane.wire.bounds import MAX_SAFE_INT
from broker_plane.wire.rows import RowSet, of_ranges

MOST_JSON_BYTES = 32 << 20
"""The largest JSON text whose values are read: it is held in memory meanwhile."""

_VALUES_BYTES = 16
"""Bytes that count as one value of work."""

_STARTS_WITH = 32
_CALLS_PER_CHECK = 256


class ByteSource(Protocol):
    """Where the bytes of a body come from: `ScopedBodies`, or the memory of an agent."""

    def read(self, body: ScopedBody, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]: ...


class _Reader(Protocol):
    @property
    def done(self) -> bool: ...

    def add(self, stretch: Stretch) -> None: ...


@dataclass(slots=True)
class _Profiled:
    """A profile as a reader that wants the whole text."""

    profile: TextProfile
    done: bool = False

    def add(self, stretch: Stretch) -> None:
        self.profile.add(stretch)


class _Deadline:
    """Raises TooCostlyError once the thread that calls it has used `seconds` of CPU since the first call."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls = 0
        self._began = 0.0

    def __call__(self) -> None:
        if not self._calls:
            self._began = thread_time()
        self._calls += 1
        if self._calls % _CALLS_PER_CHECK == 0 and thread_time() - self._began > self._seconds:
            raise TooCostlyError("This json_path takes more of the bridge's time than a read may; use fewer steps")


class OpaqueReader:
    """Reads one body, which has to be whole within the scope of its grant."""

    def __init__(self, bodies: ByteSource, body: ScopedBody, once: Pass) -> None:
        self._bodies = bodies
        self._body = body
        self._once = once

    async def read(self, request: ReadRequest, most_bytes: int) -> ReadAnswer:
        """The part that `request` names.

        Raises:
            SelectorError, WireError: the request does not fit this kind of body.
            TooLargeError: `json_path` on a larger text than `MOST_JSON_BYTES`.
        """
        kind = await self.kind()
        if request.columns is not None:
            raise SelectorError("This body is opaque: it has no columns to read")
        if kind == "bytes":
            return await self._read_bytes(request, most_bytes)
        if request.json_path is not None or (kind == "json" and request.bare):
            return await self._read_json(request, most_bytes)
        return await self._read_lines(request, most_bytes)

    async def describe(self) -> BodyDescription:
        """The description of the body."""
        kind, info = await self.kind(), self._body.info
        if kind == "json" and self._body.stored.size <= MOST_JSON_BYTES:
            raw = await self._whole()
            describe = partial(json_description, raw, info.media_type, self._tick())
            with suppress(NotJsonError):  # it only claims to be JSON, and is described as text
                return await self._once.do(self._cost(raw), describe)
        if kind == "bytes":
            beginning = await self._part(0, _STARTS_WITH)
            facts = {"bytes": self._body.stored.size, "starts_with": beginning.hex(" ")}
            return BodyDescription(kind="bytes", media_type=info.media_type, facts=facts)
        profile = TextProfile(info.media_type, info.name)
        await self._walk(_Profiled(profile))
        return profile.description(self._body.stored.size)

    async def kind(self) -> Kind:
        """What the body is, by its media type and its beginning."""
        return opaque_kind(self._body.info.media_type, await self._part(0, SNIFFED_BYTES))

    # ── lines ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read_lines(self, request: ReadRequest, most_bytes: int) -> ReadAnswer:
        if request.grep is not None:
            pattern = await self._once.do(COMPILE_COST, partial(LinePattern, request.grep))
            return await self._search(request, pattern, most_bytes)
        text = LineText(most_bytes)
        if request.tail is not None:
            last = LastLines(request.tail, text, most_bytes)
            await self._walk(last)
            last.finish()
            left = of_ranges([(max(1, last.seen + 1 - request.tail), text.first)])
            return _lines(text, f"rows={shown_ranges(left)}" if left.starts else None, last.seen)
        wanted, after = _wanted_lines(request)
        found = LineRange(wanted, text)
        ended = await self._walk(found)
        left = from_number(wanted, text.after)
        more = f"rows={shown_ranges(left)}" if text.full else after if found.seen >= wanted.stops[-1] else None
        return _lines(text, more, found.seen if ended else None)

    async def _search(self, request: ReadRequest, pattern: LinePattern, most_bytes: int) -> ReadAnswer:
        wanted = of_ranges([(1, MAX_SAFE_INT)]) if request.rows is None else parse_row_ranges(request.rows)
        search = LineSearch(pattern, wanted, LineText(most_bytes, numbered=True))
        await self._walk(search)
        text = search.found
        more = f"rows={shown_ranges(from_number(wanted, text.after))}" if text.full else None
        return _lines(text, more, None if text.full else len(text))

    async def _walk(self, reader: _Reader) -> bool:
        """Hand the body to `reader` until it is done, and say whether all of the body was handed on."""
        splitter = LineSplitter()
        async with aclosing(self._bodies.read(self._body)) as pieces:
            async for piece in pieces:
                if reader.done:
                    return False
                await self._once.do(self._cost(piece), partial(_feed, reader, splitter.feed(piece)))
        before = reader.done
        await self._once.do(SNIFFED_BYTES, partial(_feed, reader, splitter.end()))
        return not before

    # ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read_json(self, request: ReadRequest, most_bytes: int) -> ReadAnswer:
        path = parse_json_path(request.json_path or "$")
        wanted = None if request.rows is None else parse_row_ranges(request.rows)
        raw = await self._whole()
        return await self._once.do(self._cost(raw), partial(json_answer, raw, path, wanted, most_bytes, self._tick()))

    async def _whole(self) -> bytes:
        size = self._body.stored.size
        if size > MOST_JSON_BYTES:
            raise TooLargeError(
                f"This body has {size:,} bytes, and json_path reads JSON of up to {MOST_JSON_BYTES >> 20} MiB; read "
                "it with grep or rows, or hand resource_url to a tool that takes it"
            )
        return await self._part(0, size)

    def _tick(self) -> Tick:
        """Ends a walk over JSON that takes longer than a pass may."""
        return _Deadline(self._once.left)

    # ── bytes ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read_bytes(self, request: ReadRequest, most_bytes: int) -> ReadAnswer:
        if request.grep is not None or request.json_path is not None:
            raise SelectorError(
                f"This body is neither text nor JSON ({self._body.info.media_type}): read it with page, rows, head or "
                "tail, or hand resource_url to a tool that takes it"
            )
        size = self._body.stored.size
        start, stop, after = _wanted_bytes(request, size)
        shown = min(stop, start + most_shown(most_bytes))
        data = await self._part(start, shown)
        more = f"rows={shown}-{stop - 1}" if shown < stop else after if stop < size else None
        text = byte_text(data, start)
        return ReadAnswer(text=text, unit="bytes", first=start, count=len(data), total=size, next=more)

    async def _part(self, start: int, stop: int) -> bytes:
        stop = min(stop, self._body.stored.size)
        if start >= stop:
            return b""
        return b"".join([piece async for piece in self._pieces(start, stop)])

    async def _pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._bodies.read(self._body, start, stop)) as pieces:
            async for piece in pieces:
                yield piece

    @staticmethod
    def _cost(raw: bytes) -> int:
        return len(raw) // _VALUES_BYTES


def _feed(reader: _Reader, stretches: Iterator[Stretch]) -> None:
    for stretch in stretches:
        reader.add(stretch)


def _wanted_lines(request: ReadRequest) -> tuple[RowSet, str | None]:
    """The numbers of the lines to show, and how to go on after the last of them."""
    if request.rows is not None:
        return parse_row_ranges(request.rows), None
    if request.head is not None:
        return of_ranges([(1, request.head + 1)]), f"rows={request.head + 1}-"
    page = request.page or 1
    return of_ranges([((page - 1) * PAGE_LINES + 1, page * PAGE_LINES + 1)]), f"page={page + 1}"


def _wanted_bytes(request: ReadRequest, size: int) -> tuple[int, int, str | None]:
    """The range of the bytes to show, and how to go on after it."""
    if request.rows is not None:
        wanted = parse_row_ranges(request.rows)
        return min(size, wanted.starts[0]), min(size, wanted.stops[0]), None
    if request.tail is not None:
        return max(0, size - request.tail), size, None
    if request.head is not None:
        return 0, min(size, request.head), f"rows={request.head}-"
    page = request.page or 1
    return min(size, (page - 1) * PAGE_BYTES), min(size, page * PAGE_BYTES), f"page={page + 1}"


def _lines(text: LineText, more: str | None, total: int | None) -> ReadAnswer:
    return ReadAnswer(
        text=text.text, unit="lines", first=text.first, count=len(text), total=total, next=more, cut=text.cut
    )
