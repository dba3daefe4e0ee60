"""The schema of a table, as a feed records it with each version, and whether a later one fits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from broker_plane.errors import SchemaError
from broker_plane.wire.feeds import Schema

ABSENT = "absent"
NULL = "null"
_NUMBERS = {"int", "float", "Decimal"}


def schema_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """By column, in the order of first appearance, the types of its values."""
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


def check_compatible(before: Schema, after: Schema, key: Sequence[str], key_before: Sequence[str]) -> None:
    """Raise unless whoever reads `before` can read `after`: no column goes, no type changes but int to float.

    Columns may come, and so may nulls and gaps: whoever reads a table by name is ready for those.

    Raises:
        SchemaError: names the column, and says what to do.
    """
    if tuple(key) != tuple(key_before):
        raise SchemaError(f"This feed has the key {_names(key_before)}, and this version {_names(key)}. {_WAYS_OUT}")
    for name, kinds in before.items():
        if name not in after:
            raise SchemaError(f"The column {name!r} of this feed is gone in this version. {_WAYS_OUT}")
        old, new = _values(kinds), _values(after[name])
        strange = new - old if old else set()
        if strange and not (strange <= _NUMBERS and old <= _NUMBERS):
            raise SchemaError(
                f"The column {name!r} of this feed has values of type {_names(sorted(old))}, and this version "
                f"{_names(sorted(strange))}. {_WAYS_OUT}"
            )


_WAYS_OUT = "Publish it as another feed, or with new_schema=True where every subscriber is ready for it"


def _values(kinds: Iterable[str]) -> set[str]:
    return set(kinds) - {NULL, ABSENT}


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
