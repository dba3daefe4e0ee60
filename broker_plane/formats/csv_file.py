"""Read a CSV or TSV file (RFC 4180, with a header line) as rows, with typed columns or as text."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, cast

from broker_plane.errors import TabularError
from broker_plane.formats.text_file import decoded, not_utf8
from broker_plane.tabular.csv_types import MAX_CELL, Cells, ColumnType
from broker_plane.wire.column_names import repeated_name

_LINES_AT_ONCE = 1024
_TAB = "\t"
_MOST_PLACES = 5

Line = list[str | None]


class CsvFileRows(Iterator[dict[str, Any]]):
    """The rows of a file, and its `columns`, which are known even without rows."""

    def __init__(self, table: _Table, types: list[ColumnType] | None) -> None:
        self.columns = table.names
        self._rows = _rows(table, types)

    def __next__(self) -> dict[str, Any]:
        return next(self._rows)


def read_csv(file: BinaryIO, *, text: bool, separator: str = ",") -> CsvFileRows:
    """The rows of `file`. Without `text` the file is read twice, because column types depend on all values.

    Raises:
        TabularError: the file is not CSV, or has a duplicate column.
    """
    if text:
        return CsvFileRows(_Table(file, separator), None)
    if not file.seekable():
        spool = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - it lives as long as the iterator
        shutil.copyfileobj(file, spool, 1 << 20)
        spool.seek(0)
        file = spool
    start = file.tell()
    types = _types(_Table(file, separator))
    file.seek(start)
    return CsvFileRows(_Table(file, separator), types)


def check_header(names: list[str]) -> None:
    """Raise TabularError if two columns have one name."""
    twice = repeated_name(names)
    if twice is not None:
        places = [str(place) for place, name in enumerate(names, 1) if name == twice]
        shown = ", ".join(places[:_MOST_PLACES]) + (", …" if len(places) > _MOST_PLACES else "")
        what = f"is called {twice!r:.80}" if twice else "has no name"
        raise TabularError(f"More than one column {what} (columns {shown}); rename them")


class _Table:
    """The header and the lines of a file; lines are padded to the length of the header."""

    def __init__(self, file: BinaryIO, separator: str) -> None:
        csv.field_size_limit(MAX_CELL)
        data, encoding = decoded(file)
        lines = io.TextIOWrapper(data, encoding=encoding, newline="")
        self._reader = csv.reader(lines, delimiter=separator, strict=True)
        self._separator = separator
        self._waiting: list[list[str]] = []
        self.names: list[str] = []
        self._read_header()

    def batches(self) -> Iterator[list[Line]]:
        """Batches of non-empty lines. Missing fields at the end of a line are None."""
        width = len(self.names)
        while lines := self._waiting or list(islice(self._lines(), _LINES_AT_ONCE)):
            self._waiting = []
            yield [[*line, *[None] * (width - len(line))] for line in lines]

    def _read_header(self) -> None:
        names = next(self._lines(), [])
        check_header(names)
        self.names = names
        self._waiting = list(islice(self._lines(), 1))
        if len(names) == 1 and self._waiting and self._separator == ",":
            self._check_comma(names[0], self._waiting[0])

    def _check_comma(self, name: str, first: list[str]) -> None:
        for mark in (";", _TAB):
            if mark in name and len(first) == 1 and first[0].count(mark) == name.count(mark):
                raise TabularError(
                    f"The fields of this file are separated by {mark!r} instead of commas; "
                    f"{'choose --format tsv' if mark == _TAB else 'save it with commas'}, or publish it unchanged with "
                    "--format bytes"
                )

    def _lines(self) -> Iterator[list[str]]:
        try:
            for line in self._reader:
                if self.names and len(line) > len(self.names):
                    raise TabularError(
                        f"Line {self._reader.line_num} has {len(line)} fields, but the header has {len(self.names)}; "
                        f"quote fields that contain {'tabs' if self._separator == _TAB else 'commas'}"
                    )
                if line:
                    yield line
        except UnicodeDecodeError as error:
            raise not_utf8(f"The file, after line {self._reader.line_num},", error) from error
        except (csv.Error, UnicodeError) as error:
            raise TabularError(
                f"Line {self._reader.line_num} is not valid CSV: {error}. If the file has another format, "
                "choose it with --format"
            ) from error


def _types(table: _Table) -> list[ColumnType]:
    types = [ColumnType() for _ in table.names]
    for lines in table.batches():
        for kind, texts in zip(types, zip(*lines, strict=True), strict=True):
            if not kind.decided:
                kind.see(texts)
    return types


def _rows(table: _Table, types: list[ColumnType] | None) -> Iterator[dict[str, Any]]:
    for lines in table.batches():
        if types is None:
            yield from (dict(zip(table.names, line, strict=True)) for line in lines)
            continue
        try:
            columns: list[Cells] = [kind.of(texts) for kind, texts in zip(types, zip(*lines, strict=True), strict=True)]
        except (ValueError, KeyError) as error:
            raise TabularError("The file changed while it was being read; publish it again") from error
        yield from (dict(zip(table.names, values, strict=True)) for values in zip(*columns, strict=True))
