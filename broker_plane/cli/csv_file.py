"""A CSV file as rows (RFC 4180, header line first), with the types of its columns or as text."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, cast

from broker_plane.cli.text_file import decoded, not_utf8
from broker_plane.errors import TabularError
from broker_plane.tabular.csv_types import Cells, ColumnType

_LINES_AT_ONCE = 1024
_MOST_CELL = 64 << 20
"""Characters; more than any body takes. Where a quote is never closed, all that follows is one cell."""

Line = list[str | None]


class CsvRows(Iterator[dict[str, Any]]):
    """The rows of a file, and all its `columns`, which are there without rows too."""

    def __init__(self, table: _Table, types: list[ColumnType] | None) -> None:
        self.columns = table.names
        self._rows = _rows(table, types)

    def __next__(self) -> dict[str, Any]:
        return next(self._rows)


def read_csv(file: BinaryIO, *, text: bool) -> CsvRows:
    """The rows of `file`. Without `text` it is read twice: the type of a column is known after its last value.

    Raises:
        TabularError: it is no CSV, or has a column twice.
    """
    if text:
        return CsvRows(_Table(file), None)
    if not file.seekable():
        spool = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - it lives as long as the iterator
        shutil.copyfileobj(file, spool, 1 << 20)
        spool.seek(0)
        file = spool
    start = file.tell()
    types = _types(_Table(file))
    file.seek(start)
    return CsvRows(_Table(file), types)


class _Table:
    """The header and the lines of a file, each line as long as the header."""

    def __init__(self, file: BinaryIO) -> None:
        csv.field_size_limit(_MOST_CELL)
        data, encoding = decoded(file)
        self._reader = csv.reader(io.TextIOWrapper(data, encoding=encoding, newline=""), strict=True)
        self._waiting: list[list[str]] = []
        self.names: list[str] = []
        self._read_header()

    def batches(self) -> Iterator[list[Line]]:
        """The lines but for empty ones, some at a time. Missing fields at the end of a line are None."""
        width = len(self.names)
        while lines := self._waiting or list(islice(self._lines(), _LINES_AT_ONCE)):
            self._waiting = []
            yield [[*line, *[None] * (width - len(line))] for line in lines]

    def _read_header(self) -> None:
        names = next(self._lines(), [])
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            places = ", ".join(str(place) for place, name in enumerate(names, 1) if name == twice[0])
            what = f"is called {twice[0]!r}" if twice[0] else "has no name"
            raise TabularError(f"The header says more than once that a column {what} (columns {places}); rename them")
        self.names = names
        self._waiting = list(islice(self._lines(), 1))
        if len(names) == 1 and self._waiting:
            self._check_comma(names[0], self._waiting[0])

    def _check_comma(self, name: str, first: list[str]) -> None:
        for mark in (";", "\t"):
            if mark in name and len(first) == 1 and first[0].count(mark) == name.count(mark):
                raise TabularError(
                    f"The fields of this file are separated by {mark!r}, and those of a CSV by commas; save it again "
                    "with commas, or publish it as it is with --format bytes"
                )

    def _lines(self) -> Iterator[list[str]]:
        try:
            for line in self._reader:
                if self.names and len(line) > len(self.names):
                    raise TabularError(
                        f"Line {self._reader.line_num} has more fields than the header ({len(line)}, and there "
                        f"{len(self.names)}); put a field with a comma in it into quotes"
                    )
                if line:
                    yield line
        except UnicodeDecodeError as error:
            raise not_utf8(f"The file, after line {self._reader.line_num},", error) from error
        except (csv.Error, UnicodeError) as error:
            raise TabularError(
                f"Line {self._reader.line_num} is no CSV: {error}. Say what the file is with --format"
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
            raise TabularError("The file changed while it was read; publish it again") from error
        yield from (dict(zip(table.names, values, strict=True)) for values in zip(*columns, strict=True))
