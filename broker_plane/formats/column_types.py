"""The Arrow type of a column of Python values, found from all of them. docs/files.md#column-types has the rules.

Values of one kind have a type of their own; ints beside floats or Decimals, and times of several offsets, have a common
one. `arrow_type` is None if the values have no common type: then the column is written as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

from broker_plane.tabular.frame import Absent

_EXACT_FLOAT = 1 << 53
_DIGITS_128, _DIGITS_256 = 38, 76
_MOST_BITS = 256
"""Whole numbers of more bits have more digits than a Decimal column."""

_MOST_DEPTH = 32
"""Levels of lists and maps in a column. Arrow's own readers refuse more than 64."""

_MOST_FIELDS = 1000
"""Names in one map: beyond that they are data, and each would be a column of the file."""

_LONGEST = timedelta(microseconds=(1 << 63) - 1)
_FIRST_YEAR, _LAST_YEAR = 1, 9999
_MINUTE = timedelta(minutes=1)
_NUMBERS = frozenset({int, float, Decimal})


class ColumnKinds:
    """What was seen of the values of a column, of the items of its lists, or of one field of its maps."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._types: set[type] = set()
        self._mixed = False
        self._low = self._high = 0
        self._digits = self._scale = 0
        self._offsets: set[timedelta | None] = set()
        self._items: ColumnKinds | None = None
        self._fields: dict[str, ColumnKinds] = {}

    def see(self, values: Sequence[Any]) -> None:
        """Take note of values; None and ABSENT have every type."""
        kinds = set(map(type, values)) - {type(None), Absent}
        self._types |= kinds
        self._mixed = self._mixed or (len(self._types) > 1 and not self._types <= _NUMBERS)
        if self._mixed or not kinds:
            return
        for kind in kinds:
            note = _NOTES.get(kind)
            if note is not None:
                note(self, [value for value in values if type(value) is kind])

    def arrow_type(self, pa: Any) -> Any:
        """The type; null if there was no value, and None if the values have no common type."""
        if self._mixed:
            return None
        if not self._types:
            return pa.null()
        if self._types == {list}:
            inner = self._items.arrow_type(pa) if self._items is not None else pa.null()
            return None if inner is None else pa.list_(inner)
        if self._types == {dict}:
            fields = [(name, kinds.arrow_type(pa)) for name, kinds in self._fields.items()]
            return pa.struct(fields) if fields and all(kind is not None for _, kind in fields) else None
        if self._types <= _NUMBERS:
            return self._number(pa)
        return self._scalar(pa)

    def _number(self, pa: Any) -> Any:
        exact = self._low >= -_EXACT_FLOAT and self._high <= _EXACT_FLOAT
        if float in self._types:
            return pa.float64() if Decimal not in self._types and exact else None
        if self._types == {int} and self._high < 1 << 64:
            if self._low >= -(1 << 63) and self._high < 1 << 63:
                return pa.int64()
            if self._low >= 0:
                return pa.uint64()
        digits = max(1, self._digits + self._scale)
        if digits > _DIGITS_256:
            return None
        return (pa.decimal128 if digits <= _DIGITS_128 else pa.decimal256)(digits, self._scale)

    def _scalar(self, pa: Any) -> Any:
        (kind,) = self._types
        if kind is datetime:
            return pa.timestamp("us", _zone(self._offsets))
        found = {
            bool: pa.bool_(),
            str: pa.string(),
            bytes: pa.binary(),
            date: pa.date32(),
            time: pa.time64("us"),
            timedelta: pa.duration("us"),
        }.get(kind)
        if found is None and not self._depth:
            return pa.string()  # a UUID
        return found

    def _ints(self, values: list[int]) -> None:
        low, high = min(values), max(values)
        self._low, self._high = min(self._low, low), max(self._high, high)
        if max(low.bit_length(), high.bit_length()) > _MOST_BITS:
            self._mixed = True
        else:
            self._digits = max(self._digits, len(str(abs(low))), len(str(abs(high))))

    def _decimals(self, values: list[Decimal]) -> None:
        if not all(map(Decimal.is_finite, values)):
            self._mixed = True
            return
        for value in values:
            _, digits, exponent = value.as_tuple()
            if not isinstance(exponent, int):
                continue
            self._digits = max(self._digits, len(digits) + exponent)
            self._scale = max(self._scale, -exponent)

    def _times(self, values: list[datetime]) -> None:
        for value in values:
            self._offsets.add(value.utcoffset())
            # At the ends of the calendar the same time in UTC may have no date.
            self._mixed = self._mixed or (value.tzinfo is not None and value.year in (_FIRST_YEAR, _LAST_YEAR))
        self._mixed = self._mixed or (None in self._offsets and len(self._offsets) > 1)

    def _clock_times(self, values: list[time]) -> None:
        self._mixed = any(value.tzinfo is not None for value in values)

    def _durations(self, values: list[timedelta]) -> None:
        self._mixed = min(values) < -_LONGEST or max(values) > _LONGEST

    def _lists(self, values: list[list[Any]]) -> None:
        if self._depth == _MOST_DEPTH:
            self._mixed = True
            return
        if self._items is None:
            self._items = ColumnKinds(self._depth + 1)
        self._items.see(list(chain.from_iterable(values)))

    def _maps(self, values: list[dict[Any, Any]]) -> None:
        names = dict.fromkeys(chain.from_iterable(values))
        known = len(names.keys() | self._fields.keys())
        if self._depth == _MOST_DEPTH or known > _MOST_FIELDS or not _are_names(names):
            self._mixed = True
            return
        for name in names:
            if name not in self._fields:
                self._fields[name] = ColumnKinds(self._depth + 1)
            self._fields[name].see([value[name] for value in values if name in value])


_NOTES: dict[type, Any] = {
    int: ColumnKinds._ints,
    Decimal: ColumnKinds._decimals,
    datetime: ColumnKinds._times,
    time: ColumnKinds._clock_times,
    timedelta: ColumnKinds._durations,
    list: ColumnKinds._lists,
    dict: ColumnKinds._maps,
}


def _are_names(names: Iterable[Any]) -> bool:
    """Whether all are texts that a file can have as names."""
    return all(type(name) is str and name.isprintable() for name in names)


def _zone(offsets: set[timedelta | None]) -> str | None:
    """The zone of a column: none, the one offset of its times in whole minutes, or UTC."""
    (offset, *more) = offsets
    if offset is None:
        return None
    if more or offset % _MINUTE or not offset:
        return "UTC"
    minutes = abs(offset) // _MINUTE
    return f"{'-' if offset < timedelta() else '+'}{minutes // 60:02}:{minutes % 60:02}"
