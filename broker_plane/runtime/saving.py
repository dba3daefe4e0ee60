"""Write the rows of a pulled body into a file of any format."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from functools import partial
from time import time
from typing import IO, TypeVar, cast

import anyio.to_thread

from broker_plane.formats.arrow_tables import SchemaFinder
from broker_plane.formats.arrow_writers import arrow_writer
from broker_plane.formats.gzip_file import Packed
from broker_plane.formats.kinds import ARROW_FORMATS, NAMED, FileKind, Format, is_written, missing
from broker_plane.formats.text_writers import text_view
from broker_plane.formats.workbook_writer import WorkbookWriter
from broker_plane.plane.bodies.publish import Progress, report_progress
from broker_plane.plane.bodies.pull import frames_of, held_of, spooled
from broker_plane.plane.ports import BodyTarget, Incoming
from broker_plane.tabular.codec import Held, RawFrame
from broker_plane.tabular.frame import Frame
from broker_plane.wire.selector import Selector

F = TypeVar("F", Frame, Held)
_SPOOL_BYTES = 32 << 20
"""Bytes kept in memory; more go to a temporary file."""

_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class SaveOrder:
    """How to write rows. `columns` are those that the grant shows, if known; None finds them in the received rows."""

    kind: FileKind
    selector: Selector
    columns: Sequence[str] | None = None
    csv_safe: bool = False
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written. `lost` NaN and infinities became null, and `rounded` times lost digits below a millisecond;
    `as_text` are the columns of several types that were written as text.
    """

    rows: int
    lost: int = 0
    rounded: int = 0
    as_text: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The counts that are not zero, and the number of rows."""
        more = {"lost": self.lost, "rounded": self.rounded, "as_text": list(self.as_text)}
        return {"rows": self.rows, **{name: value for name, value in more.items() if value}}


async def save_rows(incoming: Incoming, order: SaveOrder, target: BodyTarget) -> Saved:
    """Write the rows of `incoming` to `target`, without committing it.

    Raises:
        ConfigError: a package that the format needs is not installed.
        TooLargeError: the rows exceed a limit of the format.
    """
    form = order.kind.form
    if not is_written(form):
        raise missing(form, writing=True)
    finder = SchemaFinder() if form in ARROW_FORMATS else None
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
        saving = _Saving(order, target, incoming.rows, order.columns)
        if finder or (form in NAMED and order.columns is None) or (form is Format.msgpack and incoming.rows is None):
            see = None if finder is None else _seeing(finder, order.selector, verify=not incoming.digest)
            here = await spooled(incoming, cast(IO[bytes], spool), *([] if see is None else [see]))
            incoming = here.incoming
            named = here.columns if order.columns is None else order.columns
            saving = _Saving(order, target, here.rows, named)
        if finder is not None:
            return await saving.arrow(incoming, finder)
        return await (saving.workbook(incoming) if form is Format.xlsx else saving.texts(incoming))


def _seeing(finder: SchemaFinder, selector: Selector, *, verify: bool) -> Callable[[RawFrame], None]:
    return lambda raw: finder.see(raw.held(selector, verify=verify))


@dataclass(slots=True)
class _Saving:
    """One file that is being written; conversions run in threads."""

    order: SaveOrder
    target: BodyTarget
    total: int | None
    columns: Sequence[str] | None
    done: int = field(default=0)

    async def texts(self, incoming: Incoming) -> Saved:
        order, selector = self.order, self.order.selector
        names = self.columns or ()
        view = text_view(order.kind.form, selector, columns=names, rows=self.total, csv_safe=order.csv_safe)
        packed = Packed(cast(IO[bytes], self.target)) if order.kind.gzip else None
        file = packed or self.target
        file.write(view.begin())

        def write(frame: Frame) -> None:
            for piece in view.pieces(frame):
                file.write(piece)

        await self._each(frames_of(incoming, selector), write)
        file.write(view.end())
        if packed is not None:
            packed.end()
        return Saved(self.done, view.lost)

    async def arrow(self, incoming: Incoming, finder: SchemaFinder) -> Saved:
        schema = finder.schema(self._named())
        writer = arrow_writer(self.order.kind.form, schema)

        def write(held: Held) -> None:
            self.target.write(writer.write(held))

        await self._each(held_of(incoming, self.order.selector), write)
        self.target.write(await anyio.to_thread.run_sync(writer.end))
        return Saved(self.done, as_text=schema.as_text)

    async def workbook(self, incoming: Incoming) -> Saved:
        with closing(WorkbookWriter(self._named(), created=time())) as writer:

            def write(frame: Frame) -> None:
                for block in writer.blocks(frame):
                    writer.write(block)

            await self._each(frames_of(incoming, self.order.selector), write)
            file = await anyio.to_thread.run_sync(writer.end)
            while piece := await anyio.to_thread.run_sync(file.read, _PIECE_BYTES):
                self.target.write(piece)
            return Saved(self.done, writer.lost, writer.rounded)

    def _named(self) -> Sequence[str]:
        """The columns of the file, in its order."""
        asked = self.order.selector.columns
        return (self.columns or ()) if asked is None else asked

    async def _each(self, frames: AsyncGenerator[F, None], write: Callable[[F], None]) -> None:
        async with aclosing(frames):
            async for frame in frames:
                await anyio.to_thread.run_sync(partial(write, frame))
                self.done += len(frame)
                await report_progress(self.order.progress, self.done, self.total)
