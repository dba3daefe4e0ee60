"""`broker-plane pull`: write a body to a file, a FIFO, a device or standard output."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker_plane.errors import OutputError, SelectorError, TabularError
from broker_plane.files.targets import StreamTarget, open_target
from broker_plane.formats.kinds import DELIMITED, MEDIA_TYPES, FileKind, Format, kind_out, no_format
from broker_plane.plane.bodies.publish import Progress
from broker_plane.plane.bodies.pull import body_bytes
from broker_plane.plane.ports import BodyTarget, Incoming
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.pulls import Pull, Via
from broker_plane.runtime.saving import SaveOrder, save_rows
from broker_plane.wire.rows import parse_rows
from broker_plane.wire.selector import MAX_ROW_IDS, Selector, parse_selector_texts

_TYPES = {media_type: form for form, media_type in MEDIA_TYPES.items()}


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
    selector = parse_selector_texts(order.columns, None if order.rows is None else _row_ids(order.rows))
    if any(name != name.strip() for name in selector.columns or ()):
        selector = await _meant(plane, order, selector)
    async with output_target(order.output) as target:
        kind = _kind_of(order, target)
        if order.csv_safe and (kind is None or kind.form not in DELIMITED):
            raise SelectorError("--csv-safe needs --format csv or tsv")
        try:
            return await _Pull(plane, order, selector, kind, target).done()
        except SelectorError:
            meant = await _meant(plane, order, selector)
            if meant.columns == selector.columns:
                raise
            return await _Pull(plane, order, meant, kind, target).done()


def _row_ids(rows: str) -> str:
    """The row ids of a text such as `0-99,200`, in its order, as a comma list.

    Raises:
        SelectorError: a part is a range without an end or in the wrong order, or there are too many ids.
    """
    parts = [parse_rows(part) if "-" in part else part for part in rows.split(",")]
    if sum(1 if isinstance(part, str) else len(part) for part in parts) > MAX_ROW_IDS:
        raise SelectorError(f"--rows names more than {MAX_ROW_IDS:,} rows")
    return ",".join(part if isinstance(part, str) else ",".join(map(str, part)) for part in parts)


class _Pull:
    """One pull with a resolved selector."""

    def __init__(
        self, plane: Plane, order: PullOrder, selector: Selector, kind: FileKind | None, target: BodyTarget
    ) -> None:
        self._plane = plane
        self._order = order
        self._pull = Pull(order.address, Selector(selector.columns, selector.row_ids), order.via, order.progress)
        self._kind = kind
        self._target = target

    async def done(self) -> dict[str, Any]:
        pulls, pull = self._plane.pulls, self._pull
        columns = await pulls.named_columns(pull, self._kind)
        async with pulls.open(pull.address, pull.selector, pull.via) as incoming:
            if incoming.kind == "bytes" or (self._kind is not None and self._kind.form is Format.bytes):
                said = await self._bytes(incoming)
            elif self._kind is None:
                raise no_format(self._order.output)
            else:
                order = SaveOrder(self._kind, pull.selector, columns, self._order.csv_safe, pull.progress)
                saved = await save_rows(incoming, order, self._target)
                said = {"kind": "rows", "format": self._kind.form.value, **saved.to_dict()}
            self._target.commit()  # before the delivery counts: if this fails, the use is returned
            return said

    async def _bytes(self, incoming: Incoming) -> dict[str, Any]:
        asked = self._order.form
        if incoming.kind == "bytes" and asked not in (None, Format.bytes, _TYPES.get(incoming.media_type)):
            raise TabularError(f"This body is opaque and cannot be written as {asked}; omit --format")
        size = 0
        async for piece in body_bytes(incoming, self._pull.selector, self._pull.progress):
            size += self._target.write(piece)
        digest = {"digest": f"sha256:{incoming.digest}"} if incoming.digest else {}
        return {"kind": incoming.kind, "size": size, **digest}


async def _meant(plane: Plane, order: PullOrder, selector: Selector) -> Selector:
    """`selector` with its column names resolved, which needs the columns of the body."""
    if selector.columns is None:
        return selector
    columns = await plane.pulls.columns(Pull(order.address, via=order.via))
    if columns is None:
        return Selector(tuple(name.strip() for name in selector.columns), selector.row_ids)
    return selector.among(columns)


def _kind_of(order: PullOrder, target: BodyTarget) -> FileKind | None:
    """The format of the output; JSON for a stream whose name has no extension of one."""
    found = kind_out(order.output, order.form)
    return FileKind(Format.json) if found is None and target.stream else found


@asynccontextmanager
async def output_target(output: str) -> AsyncIterator[BodyTarget]:
    """The target that `--output` names; `-` is standard output.

    Raises:
        OutputError: it cannot be written; the message says why.
    """
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
