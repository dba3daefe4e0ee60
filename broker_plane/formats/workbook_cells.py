"""The cell of a workbook for a value. docs/files.md#xlsx has the rules. Pure.

A cell holds a float, a boolean, a text, or a float that is shown as a date or time. A value that none of these can hold
is the text that a CSV has for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from broker_plane.tabular.csv_cells import cell as csv_cell
from broker_plane.tabular.frame import ABSENT
from broker_plane.tabular.json_scalars import json_text

_EXACT_INT = 1 << 53
_FIRST_DATE = date(1900, 3, 1)
"""Before it, days have other numbers in different programs: some take 1900 for a leap year."""

_MOST_HOURS = timedelta(days=2_958_465)
_MILLISECOND = timedelta(milliseconds=1)
_MOST_DIGITS = 15
"""Significant digits of a Decimal that a float holds in any case."""


class CellKind(Enum):
    """How a cell is written."""

    empty = 0
    number = 1
    boolean = 2
    text = 3
    date = 4
    datetime = 5
    time = 6
    duration = 7


@dataclass(frozen=True, slots=True)
class Cell:
    """The content of a cell. `lost`: the value is a NaN or infinite; `rounded`: to a millisecond."""

    kind: CellKind
    value: Any = None
    lost: bool = False
    rounded: bool = False


_EMPTY = Cell(CellKind.empty)
_LOST = Cell(CellKind.empty, lost=True)


def cell_of(value: Any) -> Cell:
    """The cell for a stored value."""
    make = _CELLS.get(type(value))
    return _text(value) if make is None else make(value)


def _text(value: Any) -> Cell:
    return Cell(CellKind.text, json_text(str(csv_cell(value))))


def _int(value: int) -> Cell:
    return Cell(CellKind.number, value) if -_EXACT_INT <= value <= _EXACT_INT else _text(value)


def _float(value: float) -> Cell:
    return Cell(CellKind.number, value) if math.isfinite(value) else _LOST


def _decimal(value: Decimal) -> Cell:
    _, digits, exponent = value.as_tuple()
    few = isinstance(exponent, int) and len(digits) <= _MOST_DIGITS and abs(exponent) <= _MOST_DIGITS
    return Cell(CellKind.number, float(value)) if few else _text(value)


def _datetime(value: datetime) -> Cell:
    if value.tzinfo is not None or value.date() < _FIRST_DATE:
        return _text(value)
    return _timed(CellKind.datetime, value, value.microsecond)


def _date(value: date) -> Cell:
    return _text(value) if value < _FIRST_DATE else Cell(CellKind.date, value)


def _time(value: time) -> Cell:
    return _text(value) if value.tzinfo is not None else _timed(CellKind.time, value, value.microsecond)


def _duration(value: timedelta) -> Cell:
    if not timedelta(0) <= value <= _MOST_HOURS:
        return _text(value)
    return _timed(CellKind.duration, value, value.microseconds)


def _timed(kind: CellKind, value: Any, microseconds: int) -> Cell:
    """The cell of a time, without the digits below a millisecond, which workbooks do not keep."""
    below = microseconds % 1000
    if not below:
        return Cell(kind, value)
    if isinstance(value, timedelta):
        return Cell(kind, value - timedelta(microseconds=below), rounded=True)
    return Cell(kind, value.replace(microsecond=microseconds - below), rounded=True)


def _none(_: object) -> Cell:
    return _EMPTY


_CELLS: dict[type, Any] = {
    type(None): _none,
    type(ABSENT): _none,
    bool: lambda value: Cell(CellKind.boolean, value),
    str: lambda value: Cell(CellKind.text, json_text(value)),
    int: _int,
    float: _float,
    Decimal: _decimal,
    datetime: _datetime,
    date: _date,
    time: _time,
    timedelta: _duration,
}
