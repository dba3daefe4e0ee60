"""File formats: detect them by extension, and read rows from JSON, NDJSON, CSV or msgpack."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import chain, islice
from pathlib import PurePath
from typing import Any, BinaryIO, NoReturn

from broker_plane.cli.csv_file import CsvFileRows, read_csv
from broker_plane.cli.duplicate_names import check_names
from broker_plane.cli.text_file import decoded, not_utf8, utf8_lines
from broker_plane.errors import TabularError
from broker_plane.tabular.types import unpack
from broker_plane.wire.exact_json import MALFORMED, loads

_LINES_AT_ONCE = 1024


class Format(StrEnum):
    """A file format."""

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
"""Extensions of tables that commands neither read nor write."""

_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zstd", ".lz4", ".br", ".zip"})
_SPREADSHEET_HINT = "save it as CSV"


def format_in(name: str, chosen: Format | None) -> Format:
    """The chosen format, or that of the file's extension; bytes if the extension is not that of a table.

    Raises:
        TabularError: the extension is that of a table that cannot be read.
    """
    if chosen is not None:
        return chosen
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    ending = suffixes[-1] if suffixes else ""
    packed = ending in _PACKED and len(suffixes) > 1 and (suffixes[-2] in _TABLES or suffixes[-2] in ENDINGS)
    if packed or ending in _TABLES:
        ending = "".join(suffixes[-2:]) if packed else ending
        raise TabularError(
            f"{ending} files cannot be read as tables; {'unpack it first' if packed else _SPREADSHEET_HINT} "
            f"({', '.join(ENDINGS)} work), or publish the file as it is with --format bytes"
        )
    return ENDINGS.get(ending, Format.bytes)


def no_format(name: str) -> TabularError:
    """The error for writing rows to a file whose extension does not determine a format."""
    ending = PurePath(name).suffix
    what = (
        f"{ending} files cannot be written" if ending else "The file's name has no extension that determines a format"
    )
    return TabularError(
        f"{what}. This body has rows: use an extension of {', '.join(ENDINGS)}, or choose a format with --format "
        "(--format bytes writes the stored encoding)"
    )


def read_rows(file: BinaryIO, form: Format, *, text: bool = False) -> Any:
    """The rows in `file`: a list for JSON and msgpack, an iterator for line-based formats.

    Values in CSV get the types of `tabular/csv_types.py`, unless `text` is true.

    Raises:
        TabularError: the file does not contain rows in this format.
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
    """The columns of the result of `read_rows`, if known before iteration (not for NDJSON)."""
    if isinstance(rows, CsvFileRows):
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
        raise TabularError("The file does not contain a list of rows; publish it with --format bytes")
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
    raise TabularError(
        f"{what} is not valid JSON: {error}. If the file has another format, choose it with --format"
    ) from error
