"""The types of a table's values: those that it declares, else those that its texts are written as. Pure.

Texts of CSV, Markdown and HTML may be numbers, booleans, dates and times; texts of JSON and Python only dates and
times, because somebody put the quotes there. The rule for texts is that of CSV files (tabular/csv_types.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

from broker_plane.shapes.declared_types import converted, is_converted
from broker_plane.shapes.table import Found, Row
from broker_plane.tabular.csv_types import ColumnType
from broker_plane.tabular.frame import ABSENT, Frame

_NOT_TEXT = frozenset({type(None), type(ABSENT)})
_TIME = re.compile(r"[0-9]{2}[0-9:]")
_SAMPLE_ROWS = 100


def rows_of(found: Found, *, types: bool) -> list[Row]:
    """The rows, with typed values if `types`; new rows if a value changes."""
    if found.cells:
        return _rows({name: list(_cells(texts) if types else texts) for name, texts in found.cells.items()})
    changed = {name: new for name in found.columns if types and (new := _column(found, name)) is not None}
    if not changed:
        return found.rows
    if set(map(len, found.rows)) == {len(found.columns)}:
        return _rows({name: changed[name] if name in changed else _values(found, name) for name in found.columns})
    rows = [row.copy() for row in found.rows]
    for name, values in changed.items():
        for row, value in zip(rows, values, strict=True):
            if value is not ABSENT:
                row[name] = value
    return rows


def _rows(columns: dict[str, list[Any]]) -> list[Row]:
    return Frame(columns, range(len(next(iter(columns.values()))))).rows()


def _cells(texts: Sequence[str | None]) -> Sequence[Any]:
    kind = ColumnType()
    kind.see(texts)
    return kind.of(texts)


def _values(found: Found, name: str) -> list[Any]:
    return [row.get(name, ABSENT) for row in found.rows]


def _column(found: Found, name: str) -> list[Any] | None:
    """The values of a column if they change."""
    declared = found.declared.get(name)
    if declared is not None:
        return converted(_values(found, name), declared) if is_converted(declared) else None
    return _times(_values(found, name)) if _may_be_times(found, name) else None


def _may_be_times(found: Found, name: str) -> bool:
    """Whether the first text in a column begins as a date or a time does."""
    for row in islice(found.rows, _SAMPLE_ROWS):
        value = row.get(name)
        if value is not None:
            return type(value) is str and _TIME.match(value) is not None
    return True


def _times(values: list[Any]) -> list[Any] | None:
    """Texts as dates and times, if all values but null are."""
    if set(map(type, values)) - _NOT_TEXT != {str} or "" in values:
        return None
    kind = ColumnType(times_only=True)
    kind.see(value for value in values if type(value) is str)
    if kind.decided:
        return None
    new = kind.of([value if type(value) is str else None for value in values])
    return [value if type(old) is str else old for old, value in zip(values, new, strict=True)]
