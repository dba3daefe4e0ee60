"""Pulling: from a verified stream to rows, bytes or a file. The transport (HTTP or NATS) is a port."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import IO, Any, TypeVar

import anyio.to_thread

from broker_plane.errors import SelectorError, TooLargeError, TransferInterruptedError
from broker_plane.plane.bodies.publish import Progress, report_progress
from broker_plane.plane.ports import BodyTarget, Incoming, Puller
from broker_plane.tabular import arrow
from broker_plane.tabular.codec import Arrays, FrameReader, FrameWriter, Held, RawFrame
from broker_plane.tabular.frame import Frame
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.selector import WHOLE, Selector

T = TypeVar("T")
F = TypeVar("F", Frame, Held)
_MEMORY_BYTES = 1 << 30
_SPOOL_PIECE_BYTES = 1 << 19
_QUICK_BYTES = 1 << 16
"""Up to this size the bytes of an opaque body are accepted on the event loop."""

_ROW_BYTES = 200
"""Memory of a row as a dict, without its values."""

_NO_ROWS = "This body is opaque and has no rows; pull it as bytes or into a file"


@dataclass(slots=True)
class PullLimits:
    """How much of a pulled body may be held: rows, estimated memory in bytes, and received bytes."""

    rows: int
    memory: int
    incoming: int = _MEMORY_BYTES

    def check(self, rows: int) -> None:
        """Raise TooLargeError if an announced number of rows does not fit."""
        if rows > self.rows:
            raise TooLargeError(f"The body has more rows than max_rows_inline allows ({rows}); iterate() them instead")

    def take(self, rows: int, memory: int) -> None:
        """Raise TooLargeError if this many more do not fit."""
        self.rows -= rows
        self.memory -= memory
        if self.rows < 0 or self.memory < 0:
            what = "rows than max_rows_inline" if self.rows < 0 else "memory for its rows than max_memory_inline"
            raise TooLargeError(f"The body needs more {what} allows; read its rows one by one with iterate()")


@dataclass(slots=True)
class PulledRows:
    """Rows with their `_row_id`s, in parallel lists."""

    ids: list[int] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


async def pull_frames(
    puller: Puller, address: str, selector: Selector = WHOLE, progress: Progress | None = None
) -> AsyncGenerator[Frame, None]:
    """The frames of what `selector` names, in the body's order, as they arrive.

    A completed iteration is a verified read; an incomplete one is unverified.
    """
    async with puller.pull(address, selector) as incoming:
        if incoming.kind != "rows":
            raise SelectorError(_NO_ROWS)
        async with aclosing(frames_of(incoming, selector)) as frames:
            done = 0
            async for frame in frames:
                done += len(frame)
                yield frame
                await report_progress(progress, done, incoming.rows)


async def pull(
    puller: Puller,
    address: str,
    selector: Selector,
    *,
    room: PullLimits,
    accept: Callable[[PulledRows | bytes], T],
    progress: Progress | None = None,
) -> T:
    """The result of `accept` for the rows of a rows body, or for the bytes of an opaque one.

    `accept` is called before the delivery is confirmed: if it raises, the use is given back.

    Raises:
        TooLargeError: the body does not fit into `room`; raised at once if its size is announced.
    """
    async with puller.pull(address, selector) as incoming, aclosing(_in_memory(incoming, room.incoming)) as pieces:
        incoming = replace(incoming, pieces=pieces)
        if incoming.kind == "bytes":
            raw = b"".join([piece async for piece in pieces_of(incoming, progress)])
            # It may parse the text, and the loop must not wait for that.
            return accept(raw) if len(raw) < _QUICK_BYTES else await anyio.to_thread.run_sync(accept, raw)
        return accept(await _gather(incoming, selector, room, progress))


async def pull_table(
    puller: Puller,
    address: str,
    selector: Selector,
    *,
    room: PullLimits,
    accept: Callable[[arrow.Table], T],
    progress: Progress | None = None,
) -> T:
    """As `pull`, with the rows as a pyarrow.Table in the selector's order.

    Raises:
        ConfigError: pyarrow is not installed. TabularError: the rows do not form a table.
    """
    async with puller.pull(address, selector) as incoming, aclosing(_in_memory(incoming, room.incoming)) as came:
        incoming = replace(incoming, pieces=came)
        if incoming.kind != "rows":
            raise SelectorError(_NO_ROWS)
        room.check(_expected(incoming, selector) or 0)
        pieces: list[Arrays] = []
        done = 0
        async with aclosing(_raw_frames(incoming)) as frames:
            async for raw in frames:
                pieces.append(raw.arrays(selector, verify=not incoming.digest))
                done += len(pieces[-1])
                room.take(len(pieces[-1]), sum(array.nbytes for array in pieces[-1].columns.values()))
                _check_no_more(incoming, selector, done)
                await report_progress(progress, done, incoming.rows)
        _check_rows(incoming, selector, done)
        return accept(_table(pieces, selector))


def _table(pieces: Sequence[Arrays], selector: Selector) -> arrow.Table:
    """The received pieces as one table with the selector's columns and rows, in its order."""
    table = arrow.table_of([piece.columns for piece in pieces])
    ids = list(chain.from_iterable(piece.ids for piece in pieces))
    if selector.row_ids is not None and list(selector.row_ids) != ids:
        places = {row_id: place for place, row_id in enumerate(ids)}
        table = table.take([places[row_id] for row_id in selector.row_ids])
    if selector.columns is None:
        return table
    return table.select([name for name in selector.columns if name in table.column_names])


async def pull_to(
    puller: Puller,
    address: str,
    opening: AbstractAsyncContextManager[BodyTarget],
    progress: Progress | None = None,
) -> Incoming:
    """Write the stored bytes to a target, and commit it once they are verified.

    If the grant shows only a part of the body, that part is written in the same encoding.
    """
    async with opening as target, puller.pull(address, WHOLE) as incoming:
        async for piece in body_bytes(incoming, WHOLE, progress):
            await anyio.to_thread.run_sync(target.write, piece)
        await anyio.to_thread.run_sync(target.commit)  # before the delivery counts: if it fails, the use is given back
    return incoming


async def _gather(incoming: Incoming, selector: Selector, room: PullLimits, progress: Progress | None) -> PulledRows:
    room.check(_expected(incoming, selector) or 0)
    got = PulledRows()
    with_ids = selector.columns is not None and ROW_ID in selector.columns
    async with aclosing(frames_of(incoming, selector)) as frames:
        async for frame in frames:
            room.take(len(frame), frame.weight + _ROW_BYTES * len(frame))
            got.ids.extend(frame.ids)
            got.rows.extend(_ordered(frame, selector).rows(with_ids=with_ids))
            await report_progress(progress, len(got.ids), incoming.rows)
    return _in_order(got, selector)


def _in_order(got: PulledRows, selector: Selector) -> PulledRows:
    """The rows in the order of the selector."""
    if selector.row_ids is None or list(selector.row_ids) == got.ids:
        return got
    by_id = dict(zip(got.ids, got.rows, strict=True))
    return PulledRows(list(selector.row_ids), [by_id[row_id] for row_id in selector.row_ids])


def _ordered(frame: Frame, selector: Selector) -> Frame:
    """The frame's columns in the order of the selector."""
    if selector.columns is None:
        return frame
    columns = {name: frame.columns[name] for name in selector.columns if name in frame.columns}
    return Frame(columns, frame.ids, frame.ragged)


def frames_of(incoming: Incoming, selector: Selector) -> AsyncGenerator[Frame, None]:
    """The received frames, decoded to what `selector` names; raises if rows are missing at the end."""
    return _taken(incoming, selector, partial(RawFrame.decode, choice=selector, verify=not incoming.digest))


def held_of(incoming: Incoming, selector: Selector) -> AsyncGenerator[Held, None]:
    """As `frames_of`, with the columns as they were published."""
    return _taken(incoming, selector, partial(RawFrame.held, choice=selector, verify=not incoming.digest))


async def _taken(incoming: Incoming, selector: Selector, take: Callable[[RawFrame], F]) -> AsyncGenerator[F, None]:
    rows = 0
    async with aclosing(_raw_frames(incoming)) as frames:
        async for raw in frames:
            frame = take(raw)
            rows += len(frame)
            _check_no_more(incoming, selector, rows)
            yield frame
    _check_rows(incoming, selector, rows)


async def _raw_frames(incoming: Incoming) -> AsyncGenerator[RawFrame, None]:
    reader = FrameReader(from_start=not incoming.cut)
    async with aclosing(incoming.pieces) as pieces:
        async for piece in pieces:
            for raw in reader.feed(piece):
                yield raw


@dataclass(frozen=True, slots=True)
class Spooled:
    """A complete rows body: its columns and row count, and the same body once more."""

    columns: tuple[str, ...]
    rows: int
    incoming: Incoming


async def spooled(
    incoming: Incoming, spool: IO[bytes], see: Callable[[RawFrame], None] = lambda frame: None
) -> Spooled:
    """Write all of `incoming`, verified, to `spool`, and show `see` each frame.

    A column's first value may be in the last row, and the header of a CSV comes before all rows.
    """
    names: dict[str, None] = {}
    rows = 0
    reader = FrameReader(from_start=not incoming.cut)
    async with aclosing(incoming.pieces) as pieces:
        async for piece in pieces:
            spool.write(piece)
            for raw in reader.feed(piece):
                names.update(dict.fromkeys(chunk.name for chunk in raw.chunks))
                rows += len(raw.ids)
                see(raw)
    return Spooled(tuple(names), rows, replace(incoming, pieces=_again(spool)))


async def _again(spool: IO[bytes]) -> AsyncGenerator[bytes, None]:
    spool.seek(0)
    while piece := spool.read(_SPOOL_PIECE_BYTES):
        yield piece


async def _in_memory(incoming: Incoming, most: int) -> AsyncGenerator[bytes, None]:
    """The received pieces, of at most `most` bytes in all."""
    advice = (
        f"The body has more than {most} bytes (BROKER_PLANE_MAX_PULL_MEMORY_BYTES); pull it into a file, or iterate "
        "its rows"
    )
    if incoming.size is not None and incoming.size > most:
        raise TooLargeError(advice)
    size = 0
    async with aclosing(incoming.pieces) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > most:
                raise TooLargeError(advice)
            yield piece


def _expected(incoming: Incoming, selector: Selector) -> int | None:
    return len(selector.row_ids) if selector.row_ids is not None else incoming.rows


def _check_no_more(incoming: Incoming, selector: Selector, rows: int) -> None:
    expected = _expected(incoming, selector)
    if expected is not None and rows > expected:
        raise TransferInterruptedError(f"More than the {expected} rows that were announced arrived; pull again")


def _check_rows(incoming: Incoming, selector: Selector, rows: int) -> None:
    expected = _expected(incoming, selector)
    if expected is not None and rows != expected:
        raise TransferInterruptedError(f"{rows} of {expected} rows arrived; pull again")


async def body_bytes(
    incoming: Incoming, selector: Selector, progress: Progress | None = None
) -> AsyncGenerator[bytes, None]:
    """The bytes of a body: the stored ones, or the received frames as a complete body."""
    if incoming.kind == "bytes" or incoming.digest:
        async for piece in pieces_of(incoming, progress):
            yield piece
        return
    writer = FrameWriter()
    yield writer.begin()
    async with aclosing(frames_of(incoming, selector)) as frames:
        async for frame in frames:
            yield writer.frame(frame)
            await report_progress(progress, writer.table.rows, incoming.rows)
    yield writer.end()


def pieces_of(incoming: Incoming, progress: Progress | None = None) -> AsyncGenerator[bytes, None]:
    """The received pieces, reported to `progress`."""
    return incoming.pieces if progress is None else _reported(incoming, progress)


async def _reported(incoming: Incoming, progress: Progress) -> AsyncGenerator[bytes, None]:
    done = 0
    async with aclosing(incoming.pieces) as pieces:
        async for piece in pieces:
            done += len(piece)
            yield piece
            await report_progress(progress, done, incoming.size)
