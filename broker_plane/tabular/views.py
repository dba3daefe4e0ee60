"""Representations of a rows body: frames in, bytes out, in pieces of bounded size. One class for each media type.
Pure.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgpack

from broker_plane.errors import EncodingError, TabularError
from broker_plane.tabular.codec import FrameWriter
from broker_plane.tabular.csv_cells import cell, safe_cell
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.json_values import count_lost, json_bytes
from broker_plane.tabular.pieces import blocks, gathered, is_heavy, json_pieces
from broker_plane.tabular.types import pack
from broker_plane.wire.body import ROWS_TYPE, BodyInfo
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.selector import Selector

_LONG = 1 << 16
"""Length in characters from which a CSV field is written in parts."""


class View(Protocol):
    """Call `begin`, then `pieces` for each frame in order, then `end`; their joined results are the representation.

    `lost` is the number of NaN and infinite values that a JSON view shows as null.
    """

    media_type: str
    lost: int

    def begin(self) -> bytes: ...

    def pieces(self, frame: Frame) -> Iterator[bytes]: ...

    def end(self) -> bytes: ...


def shown_columns(body: BodyInfo, selector: Selector) -> tuple[str, ...]:
    """The columns of a representation, in the requested order; `_row_id` only if it is named."""
    return body.columns if selector.columns is None else selector.columns


def shown_rows(body: BodyInfo, selector: Selector) -> int:
    return (body.rows or 0) if selector.row_ids is None else len(selector.row_ids)


class JsonRows:
    """A JSON array of row objects."""

    media_type = "application/json"

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        self.lost = 0
        self._order = selector.columns
        self._with_ids = selector.columns is not None and ROW_ID in selector.columns
        self._separator = b""

    def begin(self) -> bytes:
        return b"["

    def pieces(self, frame: Frame) -> Iterator[bytes]:
        self.lost += count_lost(frame)
        return gathered(self._rows(frame))

    def _rows(self, frame: Frame) -> Iterator[bytes]:
        for block in blocks(frame):
            rows = _ordered(block, self._order, with_ids=self._with_ids)
            if is_heavy(frame):
                for row in rows:
                    yield self._separated()
                    yield from json_pieces(row)
            elif rows:
                yield self._separated()
                yield json_bytes(rows)[1:-1]

    def _separated(self) -> bytes:
        separator, self._separator = self._separator, b","
        return separator

    def end(self) -> bytes:
        return b"]"


class S2spRows(JsonRows):
    """`{"body": [rows, each with _row_id], "total_rows": n}`, as S2SP's consumers read it."""

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        super().__init__(body, selector)
        self._with_ids = True
        self._total = shown_rows(body, selector)

    def begin(self) -> bytes:
        return b'{"body":['

    def end(self) -> bytes:
        return b'],"total_rows":%d}' % self._total


class JsonLines:
    """One JSON object per line."""

    media_type = "application/x-ndjson"

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        self.lost = 0
        self._order = selector.columns

    def begin(self) -> bytes:
        return b""

    def pieces(self, frame: Frame) -> Iterator[bytes]:
        self.lost += count_lost(frame)
        return gathered(self._lines(frame))

    def _lines(self, frame: Frame) -> Iterator[bytes]:
        for block in blocks(frame):
            rows = _ordered(block, self._order, with_ids=self._order is not None and ROW_ID in self._order)
            if is_heavy(frame):
                for row in rows:
                    yield from json_pieces(row)
                    yield b"\n"
            else:
                yield b"".join(json_bytes(row) + b"\n" for row in rows)

    def end(self) -> bytes:
        return b""


class CsvRows:
    """RFC 4180 with a header line; nested values as JSON text, None and absent as an empty field."""

    media_type = "text/csv"
    separator = ","
    cell = staticmethod(cell)

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        self.lost = 0
        self._names = shown_columns(body, selector)

    def begin(self) -> bytes:
        return _csv([[self.cell(name) for name in self._names]], self.separator)

    def pieces(self, frame: Frame) -> Iterator[bytes]:
        self.lost += count_lost(frame)
        return gathered(self._lines(frame))

    def _lines(self, frame: Frame) -> Iterator[bytes]:
        for block in blocks(frame):
            rows = block.rows(with_ids=ROW_ID in self._names)
            lines = ([self.cell(row.get(name)) for name in self._names] for row in rows)
            if is_heavy(frame):
                for line in lines:
                    yield from _csv_line(line, self.separator)
            else:
                yield _csv(list(lines), self.separator)

    def end(self) -> bytes:
        return b""


class SafeCsvRows(CsvRows):
    """CSV for spreadsheets: no cell of text is a formula."""

    cell = staticmethod(safe_cell)


class TsvRows(CsvRows):
    """As CSV, with tabs for commas: fields with tabs, line breaks or quotes are quoted, as spreadsheets do it."""

    media_type = "text/tab-separated-values"
    separator = "\t"


class SafeTsvRows(TsvRows):
    """TSV for spreadsheets: no cell of text is a formula."""

    cell = staticmethod(safe_cell)


class MsgpackRows:
    """A msgpack array of maps, with the extension types of `tabular/types.py`."""

    media_type = "application/msgpack"

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        self.lost = 0
        self._order = selector.columns
        self._total = shown_rows(body, selector)

    def begin(self) -> bytes:
        head: bytes = msgpack.Packer().pack_array_header(self._total)
        return head

    def pieces(self, frame: Frame) -> Iterator[bytes]:
        with_ids = self._order is not None and ROW_ID in self._order
        for block in blocks(frame):
            yield from gathered(map(_packed, _ordered(block, self._order, with_ids=with_ids)))

    def end(self) -> bytes:
        return b""


class StoredRows:
    """The stored encoding, cut to the selection; readers of whole bodies can read it."""

    media_type = ROWS_TYPE

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        self.lost = 0
        self._writer = FrameWriter()

    def begin(self) -> bytes:
        return self._writer.begin()

    def pieces(self, frame: Frame) -> Iterator[bytes]:
        yield self._writer.frame(frame)

    def end(self) -> bytes:
        return self._writer.end()


VIEWS: dict[str, Callable[[BodyInfo, Selector], View]] = {
    "application/json": JsonRows,
    "application/msgpack": MsgpackRows,
    "application/x-ndjson": JsonLines,
    "text/csv": CsvRows,
    "text/tab-separated-values": TsvRows,
    ROWS_TYPE: StoredRows,
}
"""By media type, the default first."""


def _ordered(frame: Frame, order: tuple[str, ...] | None, *, with_ids: bool) -> list[dict[str, Any]]:
    """The frame's rows with their members in the requested order."""
    if order is None:
        return frame.rows(with_ids=with_ids)
    columns = {name: frame.columns[name] for name in order if name in frame.columns}
    return Frame(columns, frame.ids, frame.ragged).rows(with_ids=with_ids)


def _packed(row: dict[str, Any]) -> bytes:
    try:
        return pack(row)
    except TabularError as error:  # only a stored value that no writer writes: too deeply nested
        raise EncodingError("A row holds a value that no writer writes", reason=str(error)) from error


def _csv_line(cells: list[Any], separator: str) -> Iterator[bytes]:
    """The line of one large row, with its large cells in parts."""
    if len(cells) == 1 and not (isinstance(cells[0], str) and len(cells[0]) > _LONG):
        yield _csv([cells], separator)
        return
    between = b""
    for each in cells:
        yield between
        yield from _csv_field(each, separator)
        between = separator.encode()
    yield b"\r\n"


def _csv_field(cell: Any, separator: str) -> Iterator[bytes]:
    if not isinstance(cell, str) or len(cell) <= _LONG:
        yield _csv([[cell, 0]], separator)[:-4]  # next to another field, so that an empty one needs no quotes
        return
    quote = '"' if any(sign in cell for sign in f'{separator}"\r\n') else ""
    yield quote.encode()
    for start in range(0, len(cell), _LONG):
        part = cell[start : start + _LONG]
        yield (part.replace('"', '""') if quote else part).encode("utf-8", "replace")
    yield quote.encode()


def _csv(lines: list[Any], separator: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\r\n").writerows(lines)
    return text.getvalue().encode("utf-8", "replace")
