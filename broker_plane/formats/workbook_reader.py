"""Read one sheet of an XLSX file as columns of typed values, with python-calamine.

For the process of formats/child.py only. The first row of the sheet's used range has the names of the columns. A column
has one type if all of its cells allow it: a number without a fraction is an int if all numbers of its column are, a
date becomes a datetime in a column with times. An empty cell, and an error such as #N/A, is None.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from itertools import islice
from math import copysign
from typing import IO, Any

from broker_plane.errors import TabularError
from broker_plane.formats.csv_file import check_header
from broker_plane.formats.messages import HEAD, ROWS, packed_message
from broker_plane.tabular.csv_cells import cell as cell_text
from broker_plane.tabular.types import pack

_MOST_UNPACKED = 4 << 30
"""Largest size of all parts of a workbook together, as its directory states them."""

_CELLS_AT_ONCE = 1 << 12
_EXACT_INT = 1 << 53


def read_workbook(file: IO[bytes], sheet: str) -> Iterator[bytes]:
    """The messages for one sheet: the one named `sheet`, or the first."""
    import python_calamine

    _check_size(file)
    try:
        workbook = python_calamine.load_workbook(file)
        names = _worksheets(workbook)
        chosen = _chosen(names, sheet)
        return _messages(workbook.get_sheet_by_name(chosen), chosen, names)
    except python_calamine.PasswordError as error:
        raise TabularError("The workbook has a password; save it without one") from error


def _check_size(file: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(file) as parts:
            size = sum(part.file_size for part in parts.infolist())
    except zipfile.BadZipFile as error:
        raise TabularError(f"The file is not an XLSX workbook: {error}") from error
    if size > _MOST_UNPACKED:
        raise TabularError(f"The workbook unpacks to {size >> 20} MiB; the most is {_MOST_UNPACKED >> 20}")
    file.seek(0)


def _worksheets(workbook: Any) -> list[str]:
    """The names of the sheets with cells; others are charts and macros."""
    return [each.name for each in workbook.sheets_metadata if str(each.typ).endswith("WorkSheet")]


def _chosen(names: Sequence[str], sheet: str) -> str:
    if not names:
        raise TabularError("The workbook has no sheet with cells")
    if sheet and sheet not in names:
        raise TabularError(f"The workbook has no sheet {sheet!r}; it has {', '.join(map(repr, names))}")
    return sheet or names[0]


def _messages(cells: Any, sheet: str, sheets: list[str]) -> Iterator[bytes]:
    header = next(_lines(cells), [])
    columns = [_Column() for _ in header]
    for lines in _batches(cells):
        for column, found in zip(columns, zip(*lines, strict=True), strict=True):
            column.see(found)
    names = [_name(cell) for cell in header]
    places = [place for place, column in enumerate(columns) if names[place] or column.used]
    names = [names[place] for place in places]
    check_header(names)
    about = {"columns": names, "rows": max(0, cells.height - 1), "sheet": sheet, "sheets": sheets}
    yield packed_message(HEAD, pack(about))
    for lines in _batches(cells):
        cells_of = list(zip(*lines, strict=True))
        yield packed_message(ROWS, pack([columns[place].of(cells_of[place]) for place in places]))


def _lines(cells: Any) -> Iterator[list[Any]]:
    """The rows of the used range: calamine's own iterator begins with the empty ones above it."""
    return islice(cells.iter_rows(), cells.start[0], None) if cells.start else iter(())


def _batches(cells: Any) -> Iterator[list[list[Any]]]:
    """The rows below the header, some at a time."""
    at_once = max(1, _CELLS_AT_ONCE // max(1, cells.width))
    lines = islice(_lines(cells), 1, None)
    while some := list(islice(lines, at_once)):
        yield some


class _Column:
    """The type of a column; `see` all of its cells, then `of` returns their values."""

    def __init__(self) -> None:
        self.used = False
        self._whole = True
        self._timed = False

    def see(self, cells: Sequence[Any]) -> None:
        kinds = set(map(type, cells))
        self.used = self.used or kinds != {str} or any(cells)
        self._timed = self._timed or datetime in kinds
        if self._whole and float in kinds:
            self._whole = all(map(_is_whole, (cell for cell in cells if type(cell) is float)))

    def of(self, cells: Sequence[Any]) -> list[Any]:
        return list(map(self._value, cells))

    def _value(self, cell: Any) -> Any:
        if cell == "":
            return None
        if type(cell) is float and self._whole:
            return int(cell)
        if type(cell) is date and self._timed:
            return datetime.combine(cell, time())
        return cell


def _is_whole(number: float) -> bool:
    return number.is_integer() and abs(number) <= _EXACT_INT and (number != 0 or copysign(1, number) > 0)


def _name(cell: Any) -> str:
    """The column's name in a header cell."""
    if isinstance(cell, float) and _is_whole(cell):
        return str(int(cell))
    return cell if isinstance(cell, str) else str(cell_text(cell))
