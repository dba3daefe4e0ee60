"""Files in and out: rows read from JSON, NDJSON, CSV or msgpack, and rows written as one of them."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from broker_plane.errors import TabularError
from broker_plane.tabular.csv_cells import escaped
from broker_plane.tabular.json_values import dumps, json_value
from broker_plane.tabular.types import pack, unpack
from broker_plane.wire.exact_json import MALFORMED, loads

_LINES_AT_ONCE = 1024


class Format(StrEnum):
    """What a file holds."""

    json = "json"
    ndjson = "ndjson"
    csv = "csv"
    msgpack = "msgpack"
    bytes = "bytes"


_ENDINGS = {
    ".json": Format.json,
    ".ndjson": Format.ndjson,
    ".jsonl": Format.ndjson,
    ".csv": Format.csv,
    ".msgpack": Format.msgpack,
}


def format_of(name: str, asked: Format | None) -> Format:
    """The format that was asked for, or the one of the file's ending; a body of bytes where that says nothing."""
    return asked or _ENDINGS.get(Path(name).suffix.lower(), Format.bytes)


def read_rows(file: BinaryIO, form: Format) -> Any:
    """The rows in `file`: a list for JSON and msgpack, an iterator for the formats that have lines.

    Raises:
        TabularError: the file does not hold them.
    """
    try:
        if form is Format.json:
            return _table(loads(file.read()))
        if form is Format.msgpack:
            return _table(unpack(file.read()))
    except MALFORMED as error:
        raise TabularError(f"The file is no JSON: {error}. Say what it is with --format") from error
    return _lines(file) if form is Format.ndjson else _csv(file)


async def write_rows(
    rows: AsyncGenerator[dict[str, Any], None], form: Format, file: BinaryIO, *, csv_safe: bool = False
) -> int:
    """Write rows as they come; returns how many. With `csv_safe` no text in a CSV is a formula of a spreadsheet."""
    writer = _SafeCsv(file) if csv_safe and form is Format.csv else _WRITERS[form](file)
    count = 0
    async with aclosing(rows):
        async for row in rows:
            writer.row(row)
            count += 1
    writer.end()
    return count


def _table(loaded: Any) -> list[Any]:
    if isinstance(loaded, dict):
        return [loaded]
    if not isinstance(loaded, list):
        raise TabularError("The file holds no list of rows; publish it as --format bytes")
    return loaded


def _lines(file: BinaryIO) -> Iterator[Any]:
    number = 0
    while lines := list(islice(file, _LINES_AT_ONCE)):
        for line in lines:
            number += 1
            if line.strip():
                try:
                    yield loads(line)
                except MALFORMED as error:
                    raise TabularError(f"Line {number} is no JSON: {error}") from error


def _csv(file: BinaryIO) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
    try:
        for row in reader:
            if None in row:
                raise TabularError(f"Line {reader.line_num} has more fields than the header")
            yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise TabularError(f"Line {reader.line_num} is no CSV: {error}. Say what the file is with --format") from error


class _Json:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._before = b"["

    def row(self, row: dict[str, Any]) -> None:
        self._file.write(self._before + dumps(row))
        self._before = b",\n"

    def end(self) -> None:
        self._file.write(b"[]\n" if self._before == b"[" else b"]\n")


class _Ndjson:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def row(self, row: dict[str, Any]) -> None:
        self._file.write(dumps(row) + b"\n")

    def end(self) -> None:
        self._file.flush()


class _Csv:
    def __init__(self, file: BinaryIO) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._writer: Any = None

    def row(self, row: dict[str, Any]) -> None:
        if self._writer is None:
            self._writer = csv.DictWriter(self._text, list(row), restval="", extrasaction="ignore")
            self._writer.writerow({name: self._field(name) for name in row})
        self._writer.writerow({name: self._field(value) for name, value in row.items()})

    def _field(self, value: Any) -> Any:
        return _cell(value)

    def end(self) -> None:
        self._text.flush()
        self._text.detach()


class _SafeCsv(_Csv):
    def _field(self, value: Any) -> Any:
        return escaped(value, _cell(value))


class _Msgpack:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rows: list[dict[str, Any]] = []

    def row(self, row: dict[str, Any]) -> None:
        self._rows.append(row)

    def end(self) -> None:
        self._file.write(pack(self._rows))


_WRITERS: dict[Format, Any] = {
    Format.json: _Json,
    Format.ndjson: _Ndjson,
    Format.csv: _Csv,
    Format.msgpack: _Msgpack,
}


def _cell(value: Any) -> Any:
    viewed = json_value(value)
    return dumps(viewed).decode() if isinstance(viewed, (dict, list)) else viewed
