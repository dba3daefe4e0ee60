"""The formats of files in and out: which one a name says, and rows read from JSON, NDJSON, CSV or msgpack."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import chain, islice
from pathlib import PurePath
from typing import Any, BinaryIO, NoReturn

from broker_plane.cli.csv_file import CsvRows, read_csv
from broker_plane.cli.duplicate_names import check_names
from broker_plane.cli.text_file import decoded, not_utf8, utf8_lines
from broker_plane.errors import TabularError
from broker_plane.tabular.types import unpack
from broker_plane.wire.exact_json import MALFORMED, loads

_LINES_AT_ONCE = 1024


class Format(StrEnum):
    """What a file holds."""

    json = "json"
    ndjson = "ndjson"
    csv = "csv"
    msgpack = "msgpack"
    bytes = "bytes"


ENDINGS = {
    ".json": Format.json,
    ".ndjson": Format.ndjson,
    ".jsonl": Format.ndjson,
    ".csv": Format.csv,
    ".msgpack": Format.msgpack,
}
_TABLES = frozenset(
    {
        *(".tsv", ".tab", ".psv", ".parquet", ".pq", ".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"),
        *(".arrow", ".arrows", ".ipc", ".feather", ".orc", ".avro", ".dbf", ".dta", ".sav", ".sas7bdat", ".rds"),
    }
)
"""Endings of tables that this command neither reads nor writes."""

_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zstd", ".lz4", ".br", ".zip"})
_SPREADSHEET_HINT = "save it as CSV"


def format_in(name: str, asked: Format | None) -> Format:
    """The format that was asked for, or the one of the file's ending; a body of bytes where that means no table.

    Raises:
        TabularError: the ending is that of a table which cannot be read.
    """
    if asked is not None:
        return asked
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    ending = suffixes[-1] if suffixes else ""
    packed = ending in _PACKED and len(suffixes) > 1 and (suffixes[-2] in _TABLES or suffixes[-2] in ENDINGS)
    if packed or ending in _TABLES:
        ending = "".join(suffixes[-2:]) if packed else ending
        raise TabularError(
            f"{ending} files are not read as tables; {'unpack it first' if packed else _SPREADSHEET_HINT} "
            f"({', '.join(ENDINGS)} work), or publish the file as it is with --format bytes"
        )
    return ENDINGS.get(ending, Format.bytes)


def no_format(name: str) -> TabularError:
    """The error for rows that are to be written to a file whose ending says no format."""
    ending = PurePath(name).suffix
    what = f"{ending} files cannot be written" if ending else "The name of the file says no format"
    return TabularError(
        f"{what}. This body has rows: name the file {', '.join(ENDINGS)}, or say what to write with --format "
        "(--format bytes writes the stored encoding)"
    )


def read_rows(file: BinaryIO, form: Format, *, text: bool = False) -> Any:
    """The rows in `file`: a list for JSON and msgpack, an iterator for the formats that have lines.

    The values of a CSV get the types of `tabular/csv_types.py`, unless `text` leaves them texts.

    Raises:
        TabularError: the file does not hold them.
    """
    if form is Format.msgpack:
        return _table(unpack(file.read()))
    if form is Format.csv:
        return read_csv(file, text=text)
    file, encoding = decoded(file)
    if form is Format.ndjson:
        return _lines(file if encoding == "utf-8" else utf8_lines(file, encoding))
    raw = file.read()
    try:
        raw = raw if encoding == "utf-8" else raw.decode(encoding).encode()
        value = loads(raw)
    except MALFORMED as error:
        _refuse("The file", raw, error)
    check_names("The file", raw, value)
    return _table(value)


def columns_in(rows: Any) -> list[str]:
    """The columns of what `read_rows` gave, as far as they are known before the rows are taken: not of NDJSON."""
    if isinstance(rows, CsvRows):
        return rows.columns
    return (
        list(dict.fromkeys(chain.from_iterable(row for row in rows if isinstance(row, dict))))
        if type(rows) is list
        else []
    )


def _table(loaded: Any) -> list[Any]:
    if isinstance(loaded, dict):
        return [loaded]
    if not isinstance(loaded, list):
        raise TabularError("The file holds no list of rows; publish it as --format bytes")
    return loaded


def _lines(file: Iterator[bytes] | BinaryIO) -> Iterator[Any]:
    number = 0
    while lines := list(islice(file, _LINES_AT_ONCE)):
        for line in lines:
            number += 1
            if line.strip():
                try:
                    value = loads(line)
                except MALFORMED as error:
                    _refuse(f"Line {number}", line, error)
                check_names(f"Line {number}", line, value)
                yield value


def _refuse(what: str, raw: bytes, error: Exception) -> NoReturn:
    try:
        raw.decode()
    except UnicodeDecodeError as wrong:
        raise not_utf8(what, wrong) from error
    raise TabularError(f"{what} is no JSON: {error}. Say what the file is with --format") from error
