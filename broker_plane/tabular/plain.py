"""The one normalisation of Python values: they are compared, hashed, typed and shown as the store returns them. Pure.

Plain are None, bool, int, float, str, bytes, datetime, date, time, timedelta, Decimal and UUID themselves, and lists
and dicts of them. An enumeration becomes its value, a subclass the type below it, a scalar of NumPy, pandas or polars
its Python value; NaT and NA become None, tuples and arrays lists, mappings dicts, paths, addresses and URLs texts. A
time zone becomes its offset at that time. A value without a plain form is an error that names its row, column and type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from broker_plane.errors import EncodingError, TabularError
from broker_plane.tabular.foreign import check_nanoseconds, unsupported_value, unwrapped
from broker_plane.tabular.json_scalars import json_scalar
from broker_plane.tabular.keys import MOST_KEYS, check_hashes
from broker_plane.wire.nesting import MAX_DEPTH, levels

_SCALARS = frozenset({type(None), bool, int, float, str, bytes, date, timedelta, Decimal, UUID})
"""Types all of whose values are plain."""

_CONTAINERS = frozenset({dict, list})
_PLAIN = _SCALARS | _CONTAINERS
_TIMES = frozenset({datetime, time})
"""Types whose values are plain if their offset, if any, is fixed."""


def plain_column(name: str, values: Sequence[Any], first: int = 0, absent: type | None = None) -> Sequence[Any]:
    """The values of a column in plain form, the first of which is in row `first`; the same list if they are plain.

    `absent` is the type that marks absent values; they stay.

    Raises:
        TabularError: names the row, the column and the type of a value that cannot be stored.
    """
    kinds = set(map(type, values))
    kinds -= {absent}
    if kinds <= _SCALARS or _are_plain(values, kinds):
        return values
    return [
        value if type(value) is absent else _placed(value, name, first + place) for place, value in enumerate(values)
    ]


def plain_rows(rows: Iterable[Mapping[str, Any]], first: int = 0) -> list[dict[str, Any]]:
    """The rows as dicts of plain values; a row that is plain is the same object.

    Raises:
        TabularError: as `plain_column`, or a column name is not text.
    """
    found = list(rows)
    if set(map(type, found)) <= {dict}:
        dicts: list[dict[str, Any]] = found  # type: ignore[assignment]
        values = list(chain.from_iterable(map(dict.values, dicts)))
        if set(map(type, chain.from_iterable(dicts))) <= {str} and _are_plain(values, set(map(type, values))):
            return dicts
    return [
        {plain_name(name): _placed(value, name, first + place) for name, value in row.items()}
        for place, row in enumerate(found)
    ]


def plain_name(name: Any) -> str:
    """A column's name as plain text.

    Raises:
        TabularError: it is not text.
    """
    if type(name) is str:
        return name
    if isinstance(name, str):
        return str.__str__(name)
    raise TabularError(f"Column names are texts; {name!r} is a {type(name).__name__}")


def plain(value: Any) -> Any:
    """One value in plain form.

    Raises:
        TabularError: names a type that has no plain form.
    """
    try:
        return _plain(value, MAX_DEPTH)
    except RecursionError as error:
        raise TabularError("A value is nested too deeply, or contains itself") from error


def _are_plain(values: Sequence[Any], kinds: set[type]) -> bool:
    """Whether all values are plain, at every depth; for scalars without a Python call for each."""
    if kinds <= _SCALARS:
        return True
    depth = 0
    for level, found in levels(values):
        if not found <= _PLAIN and not (found <= _PLAIN | _TIMES and _are_fixed(level)):
            return False
        if dict in found and set(map(type, _keys(level))) - {str}:
            return False
        depth += not found.isdisjoint(_CONTAINERS)
        if depth > MAX_DEPTH:
            return False
    return True


def _keys(values: Sequence[Any]) -> Iterator[Any]:
    return chain.from_iterable(value for value in values if type(value) is dict)


def _are_fixed(values: Iterable[Any]) -> bool:
    return all(map(is_fixed, (value for value in values if type(value) in _TIMES)))


def is_fixed(value: datetime | time) -> bool:
    """Whether a datetime or time is stored exactly: without a zone, or with a fixed offset."""
    return (value.tzinfo is None or (type(value.tzinfo) is timezone and type(value) is datetime)) and not value.fold


def _placed(value: Any, name: Any, row: int) -> Any:
    try:
        return plain(value)
    except TabularError as error:
        raise TabularError(f"Row {row}, column {name!r}: {error}") from error


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is list or isinstance(value, (list, tuple)):
        _check_depth(depth)
        return list(map(partial(_plain, depth=depth - 1), value))
    if kind is dict or isinstance(value, Mapping):
        _check_depth(depth)
        return dict(zip(_plain_keys(value), map(partial(_plain, depth=depth - 1), value.values()), strict=True))
    for base, make in () if isinstance(value, Enum) else _BELOW:
        if isinstance(value, base):
            return make(value)
    return _plain(value.value if isinstance(value, Enum) else unwrapped(value), depth)


def _check_depth(left: int) -> None:
    if left <= 0:
        raise TabularError(
            f"A value is nested more than {MAX_DEPTH} levels deep, which not every reader supports; make it JSON text"
        )


def _plain_keys(value: Mapping[Any, Any]) -> Iterable[Any]:
    """The keys of a map in plain form; they must stay distinct, in the store and as JSON."""
    if set(map(type, value)) <= {str}:
        return value
    keys = [_plain(key, 1) for key in value]
    if not _SCALARS.union(_TIMES).issuperset(map(type, keys)):
        raise TabularError("A map has lists or maps as its keys; make them texts")
    if len(keys) > MOST_KEYS and set(map(type, keys)) != {str}:
        raise TabularError(f"A map has more than {MOST_KEYS} keys, and not all of them are texts; make them texts")
    try:
        check_hashes(keys)
    except EncodingError as error:
        raise TabularError(str(error)) from error
    if len({str(json_scalar(key)) for key in keys}) < len(keys):
        raise TabularError("Two keys of a map are the same as texts, as in JSON; make them texts that differ")
    return keys


def _datetime(value: datetime) -> datetime | None:
    if value != value:  # pandas' NaT
        return None
    check_nanoseconds(value)
    found = datetime.fromisoformat(datetime.isoformat(value))
    if found.year != value.year:  # pandas has later years than Python
        raise unsupported_value(value, "it is in no year from 1 to 9999")
    return found


def _time(value: time) -> time:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise unsupported_value(value, "its time zone has no offset without a date")
    return time.fromisoformat(time.isoformat(value))


def _timedelta(value: timedelta) -> timedelta:
    check_nanoseconds(value)
    return timedelta(value.days, value.seconds, value.microseconds)


_BELOW: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (datetime, _datetime),
    (date, lambda value: date(value.year, value.month, value.day)),
    (time, _time),
    (timedelta, _timedelta),
    (str, str.__str__),
    (int, int.__index__),
    (float, float.__float__),
    (Decimal, Decimal),
    (UUID, lambda value: UUID(int=value.int)),
    ((bytes, bytearray, memoryview), bytes),
)
"""The conversion of a subclass, by the first class that it belongs to: a datetime is a date as well."""
