"""Write frames as the first sheet of an XLSX file, with XlsxWriter, in bounded memory.

Rows go to temporary files; the workbook is complete only at the end, because a ZIP file has its directory there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, cast

from broker_plane.errors import TooLargeError
from broker_plane.formats.kinds import Format, is_written, missing
from broker_plane.formats.workbook_cells import CellKind, cell_of
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.json_scalars import json_text
from broker_plane.wire.names import ROW_ID

MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS = 1_048_575, 16_384, 32_767
"""Limits of the format: rows below the header, columns, and UTF-16 units in a cell (ECMA-376, and Excel's limits)."""

_CELLS_AT_ONCE = 1 << 11
_SHAPES = {
    CellKind.date: "yyyy-mm-dd",
    CellKind.datetime: "yyyy-mm-dd hh:mm:ss.000",
    CellKind.time: "hh:mm:ss.000",
    CellKind.duration: "[h]:mm:ss.000",
}


class WorkbookWriter:
    """Call `write` for each of the `blocks` of each frame, then `end`, and `close` in any case.

    The same frames give the same bytes. `close` may be called while another thread is in `write` or `end`.

    `most_bytes` limits the sheet, before it is compressed. `lost` counts NaN and infinities, which are empty cells, and
    `rounded` times that were cut to milliseconds.

    Raises:
        ConfigError: XlsxWriter is not installed. TooLargeError: too many columns.
    """

    def __init__(self, columns: Sequence[str], *, created: float, most_bytes: int | None = None) -> None:
        if not is_written(Format.xlsx):
            raise missing(Format.xlsx, writing=True)
        import xlsxwriter

        if len(columns) > MOST_COLUMNS:
            raise _too_large(f"{len(columns)} columns; a sheet has at most {MOST_COLUMNS}")
        self.lost = self.rounded = 0
        self._columns = tuple(columns)
        self._most_bytes = most_bytes
        self._line = 0
        self._busy = Lock()
        self._closing = False
        self._directory = tempfile.TemporaryDirectory(prefix="broker-plane-", ignore_cleanup_errors=True)
        self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - `close` closes it
        options = {"constant_memory": True, "tmpdir": self._directory.name, "use_zip64": True}
        self._book = xlsxwriter.Workbook(self._file, options)
        self._book.set_properties({"created": datetime.fromtimestamp(int(created), UTC)})
        self._sheet = self._book.add_worksheet()
        self._shapes = {kind: self._book.add_format({"num_format": shape}) for kind, shape in _SHAPES.items()}
        try:
            for place, name in enumerate(self._columns):
                self._put_text(place, json_text(name))
        except BaseException:
            self.close()
            raise

    def blocks(self, frame: Frame) -> Iterator[Frame]:
        """The frame in parts that each take a few milliseconds to write."""
        step = max(1, _CELLS_AT_ONCE // max(1, len(self._columns)))
        for start in range(0, len(frame), step):
            yield frame.part(start, start + step)

    def write(self, block: Frame) -> None:
        """Write the rows of a block.

        Raises:
            TooLargeError: a limit of the format, or `most_bytes`, is exceeded.
        """
        with self._working():
            blank = [None] * len(block)
            names = self._columns
            columns = [list(block.ids) if name == ROW_ID else block.columns.get(name, blank) for name in names]
            for values in zip(*columns, strict=True):
                self._line += 1
                if self._line > MOST_ROWS:
                    raise _too_large(f"more than {MOST_ROWS:,} rows, the most of a sheet")
                for place, value in enumerate(values):
                    self._put(place, value)
            if self._most_bytes is not None and self._size() > self._most_bytes:
                raise _too_large(f"more than {self._most_bytes >> 20} MiB as a sheet")

    def end(self) -> BinaryIO:
        """The complete workbook, at its first byte. `close` closes it."""
        with self._working():
            self._book.close()
            self._file.seek(0)
            return self._file

    def close(self) -> None:
        """Remove the temporary files, as soon as no other thread writes to them. Idempotent."""
        self._closing = True
        if self._busy.acquire(blocking=False):
            try:
                self._remove()
            finally:
                self._busy.release()

    @contextmanager
    def _working(self) -> Iterator[None]:
        try:
            with self._busy:
                yield
        finally:
            if self._closing:
                self.close()

    def _remove(self) -> None:
        unfinished = getattr(self._sheet, "row_data_fh", None)
        if unfinished is not None:
            unfinished.close()
        self._directory.cleanup()
        self._file.close()

    def _size(self) -> int:
        return sum(path.stat().st_size for path in Path(self._directory.name).iterdir())

    def _put(self, place: int, value: Any) -> None:
        cell = cell_of(value)
        self.lost += cell.lost
        self.rounded += cell.rounded
        if cell.kind is CellKind.text:
            self._put_text(place, cell.value)
        elif cell.kind is CellKind.number:
            self._sheet.write_number(self._line, place, cell.value)
        elif cell.kind is CellKind.boolean:
            self._sheet.write_boolean(self._line, place, cell.value)
        elif cell.kind is not CellKind.empty:
            self._sheet.write_datetime(self._line, place, cell.value, self._shapes[cell.kind])

    def _put_text(self, place: int, text: str) -> None:
        units = len(text.encode("utf-16-le")) // 2 if len(text) * 2 > MOST_CHARACTERS else 0
        if units > MOST_CHARACTERS:
            where = f"row {self._line - 1}, column {self._columns[place]!r}" if self._line else "the name of a column"
            raise _too_large(f"{units:,} characters in {where}; a cell holds {MOST_CHARACTERS:,}")
        self._sheet.write_string(self._line, place, text)


def _too_large(what: str) -> TooLargeError:
    return TooLargeError(f"This body has {what}. Pull fewer rows or columns, or pull it as Parquet or CSV")
