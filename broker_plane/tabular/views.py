"""Representations of a rows body: frames in, bytes out, a frame at a time. One class a media type."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any, Protocol

import msgpack

from broker_plane.tabular.codec import FrameWriter
from broker_plane.tabular.csv_cells import cell, safe_cell
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.json_values import count_lost, dumps
from broker_plane.tabular.types import pack
from broker_plane.wire.body import ROWS_TYPE, BodyInfo
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.selector import Selector


class View(Protocol):
    """Call `begin`, then `frame` for each frame in order, then `end`; what they return, joined, is the representation.

    `lost` counts the NaN and infinities that a JSON view shows as null.
    """

    media_type: str
    lost: int

    def begin(self) -> bytes: ...

    def frame(self, frame: Frame) -> bytes: ...

    def end(self) -> bytes: ...


def shown_columns(body: BodyInfo, selector: Selector) -> tuple[str, ...]:
    """The columns of a representation, in the asker's order; `_row_id` only where it is named."""
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

    def frame(self, frame: Frame) -> bytes:
        rows = _ordered(frame, self._order, with_ids=self._with_ids)
        self.lost += count_lost(frame)
        if not rows:
            return b""
        piece = self._separator + dumps(rows)[1:-1]
        self._separator = b","
        return piece

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
    """One JSON object a line."""

    media_type = "application/x-ndjson"

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        self.lost = 0
        self._order = selector.columns

    def begin(self) -> bytes:
        return b""

    def frame(self, frame: Frame) -> bytes:
        self.lost += count_lost(frame)
        rows = _ordered(frame, self._order, with_ids=self._order is not None and ROW_ID in self._order)
        return b"".join(dumps(row) + b"\n" for row in rows)

    def end(self) -> bytes:
        return b""


class CsvRows:
    """RFC 4180 with a header line; nested values as JSON text, None and absent as an empty field."""

    media_type = "text/csv"
    cell = staticmethod(cell)

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        self.lost = 0
        self._names = shown_columns(body, selector)

    def begin(self) -> bytes:
        return _csv([[self.cell(name) for name in self._names]])

    def frame(self, frame: Frame) -> bytes:
        self.lost += count_lost(frame)
        rows = frame.rows(with_ids=ROW_ID in self._names)
        return _csv([[self.cell(row.get(name)) for name in self._names] for row in rows])

    def end(self) -> bytes:
        return b""


class SafeCsvRows(CsvRows):
    """CSV for spreadsheets: no cell of text is a formula."""

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

    def frame(self, frame: Frame) -> bytes:
        with_ids = self._order is not None and ROW_ID in self._order
        return b"".join(map(pack, _ordered(frame, self._order, with_ids=with_ids)))

    def end(self) -> bytes:
        return b""


class StoredRows:
    """The stored encoding again, cut to what was selected; a reader of whole bodies reads it unchanged."""

    media_type = ROWS_TYPE

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        self.lost = 0
        self._writer = FrameWriter()

    def begin(self) -> bytes:
        return self._writer.begin()

    def frame(self, frame: Frame) -> bytes:
        return self._writer.frame(frame)

    def end(self) -> bytes:
        return self._writer.end()


VIEWS: dict[str, Callable[[BodyInfo, Selector], View]] = {
    "application/json": JsonRows,
    "application/msgpack": MsgpackRows,
    "application/x-ndjson": JsonLines,
    "text/csv": CsvRows,
    ROWS_TYPE: StoredRows,
}
"""By media type, the default first."""


def _ordered(frame: Frame, order: tuple[str, ...] | None, *, with_ids: bool) -> list[dict[str, Any]]:
    """The frame's rows with the members in the asker's order."""
    if order is None:
        return frame.rows(with_ids=with_ids)
    columns = {name: frame.columns[name] for name in order if name in frame.columns}
    return Frame(columns, frame.ids, frame.ragged).rows(with_ids=with_ids)


def _csv(lines: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(lines)
    return text.getvalue().encode("utf-8", "replace")
