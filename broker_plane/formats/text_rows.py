"""Read rows from JSON, NDJSON, CSV, TSV and MessagePack."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, BinaryIO, NoReturn

from broker_plane.errors import TabularError
from broker_plane.formats.csv_file import read_csv
from broker_plane.formats.duplicate_names import check_names
from broker_plane.formats.kinds import DELIMITED, Format
from broker_plane.formats.text_file import decoded, not_utf8, utf8_lines
from broker_plane.tabular.types import unpack
from broker_plane.wire.exact_json import MALFORMED, loads

_LINES_AT_ONCE = 1024


def read_rows(file: BinaryIO, form: Format, *, text: bool = False) -> Any:
    """The rows in `file`: a list for JSON and msgpack, an iterator for line-based formats.

    Values in CSV and TSV get the types of `tabular/csv_types.py`, unless `text` is true.

    Raises:
        TabularError: the file does not contain rows in this format.
    """
    if form is Format.msgpack:
        return _table(unpack(file.read()))
    if form in DELIMITED:
        return read_csv(file, text=text, separator=DELIMITED[form])
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


def columns_of_rows(rows: list[Any]) -> list[str]:
    """The columns of rows, in the order of first appearance."""
    return list(dict.fromkeys(chain.from_iterable(row for row in rows if isinstance(row, dict))))


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
