"""The types of a table's values: those that it declares, else those that its texts are written as. Pure.

Texts of CSV, Markdown and HTML may be numbers, booleans, dates and times; texts of JSON and Python only dates and
times, because somebody put the quotes there. The rule for texts is that of CSV files (tabular/csv_types.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_plane.shapes.declared_types import converted
from broker_plane.shapes.table import Found, Row
from broker_plane.tabular.csv_types import ColumnType
from broker_plane.tabular.frame import ABSENT, Frame

_OTHERS = frozenset({str, type(None), type(ABSENT)})


def typed(found: Found) -> list[Row]:
    """The rows with typed values. Rows are copied if a value in them changes."""
    changed = {name: new for name in found.columns if (new := _column(found, name)) is not None}
    if not changed:
        return found.rows
    if found.cells and len(changed) == len(found.columns):
        return Frame({name: list(changed[name]) for name in found.columns}, range(len(found.rows))).rows()
    rows = [row.copy() for row in found.rows]
    for name, values in changed.items():
        for row, value in zip(rows, values, strict=True):
            if value is not ABSENT:
                row[name] = value
    return rows


def _column(found: Found, name: str) -> Sequence[Any] | None:
    """The values of a column if they change."""
    values = [row.get(name, ABSENT) for row in found.rows]
    if name in found.declared:
        new = converted(values, found.declared[name])
        return None if new is values else new
    kind = ColumnType(times_only=not found.cells)
    if found.cells:
        kind.see(values)
        new = kind.of(values)
        return None if new is values else new
    kinds = set(map(type, values))
    if str not in kinds or not kinds <= _OTHERS:
        return None
    texts = [value if type(value) is str else None for value in values]
    if "" in texts:
        return None
    kind.see(texts)
    if kind.decided:
        return None
    new = kind.of(texts)
    return (
        None
        if new is texts
        else [old if type(old) is not str else value for old, value in zip(values, new, strict=True)]
    )
