"""`broker-plane pull`: write a body to a file, a FIFO, a device or standard output."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, cast

from broker_plane.cli.formats import ENDINGS, Format, no_format
from broker_plane.cli.row_writer import write_rows
from broker_plane.errors import BrokerPlaneError, GrantError, OutputError, SelectorError, TabularError, WireError
from broker_plane.files.targets import StreamTarget, open_target
from broker_plane.plane.bodies.publish import Progress, report_progress
from broker_plane.plane.bodies.pull import body_bytes, frames_of, spooled
from broker_plane.plane.ports import BodyTarget, Incoming
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.pulls import Via
from broker_plane.tabular.frame import Frame
from broker_plane.wire.grant import grant_of, peek
from broker_plane.wire.selector import Selector, parse_selector_texts

_SPOOL_BYTES = 32 << 20
"""Bytes kept in memory; more go to a temporary file."""

_TYPES = {
    "application/json": Format.json,
    "application/x-ndjson": Format.ndjson,
    "text/csv": Format.csv,
    "application/msgpack": Format.msgpack,
}


@dataclass(frozen=True, slots=True)
class PullOrder:
    """The arguments of `pull`, unparsed."""

    address: str
    columns: str | None
    rows: str | None
    via: Via | None
    form: Format | None
    output: str
    csv_safe: bool
    progress: Progress


async def pull_to_output(plane: Plane, order: PullOrder) -> dict[str, Any]:
    """Pull, and return a description of the output. When this returns, the output is verified."""
    selector = parse_selector_texts(order.columns, order.rows)
    if any(name != name.strip() for name in selector.columns or ()):
        selector = await _meant(plane, order, selector)
    async with _target(order.output) as target:
        form = order.form or _form_of(order.output, target)
        if order.csv_safe and form is not Format.csv:
            raise SelectorError("--csv-safe needs --format csv")
        try:
            return await _Pull(plane, order, selector, form, target).done()
        except SelectorError:
            meant = await _meant(plane, order, selector)
            if meant.columns == selector.columns:
                raise
            return await _Pull(plane, order, meant, form, target).done()


class _Pull:
    """One pull with a resolved selector."""

    def __init__(
        self, plane: Plane, order: PullOrder, selector: Selector, form: Format | None, target: BodyTarget
    ) -> None:
        self._plane = plane
        self._order = order
        self._selector = Selector(selector.columns, selector.row_ids)
        self._form = form
        self._target = target

    async def done(self) -> dict[str, Any]:
        columns = await self._known_columns()
        async with self._plane.pulls.open(self._order.address, self._selector, self._order.via) as incoming:
            if incoming.kind == "bytes" or self._form is Format.bytes:
                said = await self._bytes(incoming)
            elif self._form is None:
                raise no_format(self._order.output)
            else:
                said = await self._rows(incoming, self._form, columns)
            self._target.commit()  # before the delivery counts: if this fails, the use is returned
            return said

    async def _bytes(self, incoming: Incoming) -> dict[str, Any]:
        asked = self._order.form
        if incoming.kind == "bytes" and asked not in (None, Format.bytes, _TYPES.get(incoming.media_type)):
            raise TabularError(f"This body is opaque and cannot be written as {asked}; omit --format")
        size = 0
        async for piece in body_bytes(incoming, self._selector, self._order.progress):
            size += self._target.write(piece)
        digest = {"digest": f"sha256:{incoming.digest}"} if incoming.digest else {}
        return {"kind": incoming.kind, "size": size, **digest}

    async def _rows(self, incoming: Incoming, form: Format, columns: tuple[str, ...] | None) -> dict[str, Any]:
        rows = incoming.rows
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
            if (form is Format.csv and columns is None) or (form is Format.msgpack and rows is None):
                here = await spooled(incoming, cast(IO[bytes], spool))
                columns, rows, incoming = here.columns, here.rows, here.incoming
            written = await write_rows(
                _reporting(frames_of(incoming, self._selector), self._order.progress, rows),
                form,
                self._target,
                self._selector,
                columns=columns or (),
                rows=rows,
                csv_safe=self._order.csv_safe,
            )
        said = {"kind": "rows", "rows": written.rows, "format": form.value}
        return said | ({"lost": written.lost} if written.lost else {})

    async def _known_columns(self) -> tuple[str, ...] | None:
        """The columns of a CSV, if known in advance. A subset of the rows may not contain all columns."""
        if self._form is not Format.csv or self._selector.columns is not None:
            return self._selector.columns
        some = self._selector.row_ids is not None or _shows_some(self._order.address)
        return await _columns(self._plane, self._order) if some else None


def _shows_some(address: str) -> bool:
    """Whether the grant shows only some of the rows."""
    try:
        return bool(peek(grant_of(address)).scope.rows)
    except (WireError, GrantError):  # the pull itself reports the error
        return False


async def _meant(plane: Plane, order: PullOrder, selector: Selector) -> Selector:
    """`selector` with its column names resolved, which needs the columns of the body."""
    if selector.columns is None:
        return selector
    columns = await _columns(plane, order)
    if columns is None:
        return Selector(tuple(name.strip() for name in selector.columns), selector.row_ids)
    return selector.among(columns)


async def _columns(plane: Plane, order: PullOrder) -> tuple[str, ...] | None:
    """The columns that the grant shows; None if it does not permit a preview."""
    try:
        return tuple((await plane.preview(order.address, sample=0, via=order.via)).columns)
    except BrokerPlaneError:
        return None


async def _reporting(
    frames: AsyncGenerator[Frame, None], progress: Progress, total: int | None
) -> AsyncGenerator[Frame, None]:
    done = 0
    async with aclosing(frames):
        async for frame in frames:
            yield frame
            done += len(frame)
            await report_progress(progress, done, total)


def _form_of(output: str, target: BodyTarget) -> Format | None:
    """The format of the output's extension; JSON for a stream without one."""
    ending = PurePath(output).suffix.lower()
    return ENDINGS.get(ending, Format.json if target.stream else None)


@asynccontextmanager
async def _target(output: str) -> AsyncIterator[BodyTarget]:
    try:
        if output == "-":
            yield StreamTarget(sys.stdout.buffer)
            return
        if output.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), output)
        async with open_target(Path(output)) as target:
            yield target
    except BrokenPipeError as error:
        with suppress(OSError):  # prevents a flush at exit, which would fail as well
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError("The reader of the output closed it before the body was complete") from error
    except (ConnectionError, TimeoutError):
        raise  # not an error of the output
    except OSError as error:
        where = "standard output" if output == "-" else output
        raise OutputError(f"{where}: {error.strerror or error}") from error
