"""The schema of a feed: what its versions keep, and whether a later version is compatible. Pure.

A feed keeps every column that it ever had, with the types of its values, even if no row of the newest version has a
value there. So the last value, and the last row, may be removed; only `new_schema=True` removes a column.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from broker_plane.errors import SchemaError
from broker_plane.wire.feeds import Schema

ABSENT = "absent"
NULL = "null"
_NUMBERS = {"int", "float", "Decimal"}
_TYPES = {*_NUMBERS, *("bool", "str", "bytes", "datetime", "date", "time", "timedelta", "UUID", "list", "dict")}
"""The types of stored values. Feeds of earlier versions name others, those of values before they were stored."""


def schema_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The types of the values by column, in the order of first appearance."""
    found: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            kinds = found.get(name)
            if kinds is None:
                kinds = found[name] = set()
                counts[name] = 0
            kinds.add(NULL if value is None else type(value).__name__)
            counts[name] += 1
    for name, count in counts.items():
        if count < len(rows):
            found[name].add(ABSENT)
    return {name: tuple(sorted(kinds)) for name, kinds in found.items()}


def kept(before: Schema, after: Schema, *, rows: bool) -> dict[str, tuple[str, ...]]:
    """The schema of a feed that had `before`, after a version with `after`; `rows`: the version has any.

    A column that rows may lack stays optional, even after the rows that lack it were removed.
    """
    result: dict[str, tuple[str, ...]] = {}
    empty = (ABSENT,) if rows else ()
    for name, kinds in before.items():
        known = set(kinds) & (_TYPES | {NULL, ABSENT})
        result[name] = tuple(sorted(known | set(after.get(name) or empty)))
    for name, kinds in after.items():
        result.setdefault(name, kinds or empty)
    return result


def declared_schema(schema: Schema, columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`schema` with these columns too; they come first, in the order of the publisher."""
    return {**{name: schema.get(name, ()) for name in columns}, **schema}


def check_declared(columns: Sequence[str], seen: Collection[str], before: Collection[str]) -> None:
    """Raise unless `columns` has all columns of the rows and of the feed.

    Raises:
        SchemaError: names the column, and says what to do.
    """
    if strange := [name for name in seen if name not in columns]:
        raise SchemaError(
            f"The rows have a column {strange[0]!r} that columns= does not name. Add it there, or drop it from the rows"
        )
    if gone := [name for name in before if name not in columns]:
        raise SchemaError(f"columns= does not name the column {gone[0]!r} of this feed. {_WAYS_OUT}")


def check_compatible(before: Schema, after: Schema, key: Sequence[str], key_before: Sequence[str]) -> None:
    """Raise unless readers of `before` can read `after`: no column is removed, no type changes except int to float.

    Columns, nulls and gaps may be added: readers by name can handle those. An optional column may have no values left,
    and a version without rows says nothing about columns.

    Raises:
        SchemaError: names the column, and says what to do.
    """
    if tuple(key) != tuple(key_before):
        raise SchemaError(f"This feed has the key {_names(key_before)}, and this version {_names(key)}. {_WAYS_OUT}")
    for name, kinds in before.items():
        if name not in after:
            if after and _needed(kinds):
                raise SchemaError(
                    f"Every row of this feed had the column {name!r}, and no row of this version has it. If it may be "
                    f"empty, publish None there. {_WAYS_OUT}"
                )
            continue
        old, new = _values(kinds), _values(after[name])
        strange = new - old if old and old <= _TYPES else set()
        if strange and not (strange <= _NUMBERS and old <= _NUMBERS):
            raise SchemaError(
                f"The column {name!r} of this feed has values of type {_names(sorted(old))}, and this version "
                f"{_names(sorted(strange))}. {_WAYS_OUT}"
            )


_WAYS_OUT = "Publish it as another feed, or with new_schema=True if every subscriber is ready for it"


def _needed(kinds: Iterable[str]) -> bool:
    """Whether every row had a value there. No row had, if the column was only declared."""
    return bool(_values(kinds)) and not {NULL, ABSENT} & set(kinds)


def _values(kinds: Iterable[str]) -> set[str]:
    return set(kinds) - {NULL, ABSENT}


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
