"""Describes a table in one pass: for each column its types, nulls, distinct values, extremes and examples. Pure.

Memory is bounded for any table: few distinct values are remembered if there are many columns, and long values by their
hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from broker_plane.reading.answers import BodyDescription
from broker_plane.tabular.frame import ABSENT, Frame
from broker_plane.tabular.json_values import json_bytes, json_value

EXAMPLES = 5
MOST_DISTINCT = 10_000
"""Distinct values of a column that are counted exactly."""

DESCRIBED_BYTES = 16_000
"""Maximum size of a description as JSON: a wide table loses examples first, then figures, then columns at the end."""

_DISTINCT_OF_ALL = 1_000_000
"""Distinct values of all columns together that are remembered."""

_LEAST_DISTINCT = 32
_LONG = 64
_PREFIX = 256
"""Characters of a text by which extremes are compared."""

_SHOWN = 60
_UNORDERED = frozenset({"list", "dict"})


class TableProfile:
    """Takes the frames of a table with these columns, in any order."""

    def __init__(self, columns: Sequence[str]) -> None:
        most = max(_LEAST_DISTINCT, min(MOST_DISTINCT, _DISTINCT_OF_ALL // max(1, len(columns))))
        self.rows = 0
        self._columns = {name: _ColumnProfile(most) for name in columns}

    def add(self, frame: Frame) -> None:
        """Take the rows of `frame`."""
        self.rows += len(frame)
        for name, column in self._columns.items():
            column.add(frame.columns.get(name, ()))

    def description(self, media_type: str) -> BodyDescription:
        """The description of all rows so far, in at most `DESCRIBED_BYTES`."""
        columns = [{"name": name, **column.facts(self.rows)} for name, column in self._columns.items()]
        facts = {"rows": self.rows, "column_count": len(columns)}
        for lean in (_whole, _one_example, _type_only):
            described = BodyDescription(
                kind="table", media_type=media_type, facts=facts, columns=tuple(map(lean, columns))
            )
            if len(json_bytes(described.to_wire())) <= DESCRIBED_BYTES:
                return described
        return _fewer_columns(described)


class _ColumnProfile:
    """One column, in bounded memory."""

    def __init__(self, most_distinct: int) -> None:
        self._most = most_distinct
        self._kinds: set[str] = set()
        self._present = 0
        self._seen: set[Any] = set()
        self._examples: list[Any] = []
        self._extremes: tuple[Any, Any] | None = None
        self._ordered = True

    def add(self, values: Sequence[Any]) -> None:
        """Take values; None, absent ones and NaN count as nulls."""
        kinds = set(map(type, values))
        if kinds <= {str} or kinds <= {int}:
            solid = values
        else:
            solid = [value for value in values if value is not None and value is not ABSENT and value == value]
            kinds = set(map(type, solid))
        if not solid:
            return
        self._present += len(solid)
        self._kinds.update(kind.__name__ for kind in kinds)
        self._count(solid)
        self._compare(solid)

    def facts(self, rows: int) -> dict[str, Any]:
        """What a description says of it, of `rows` rows."""
        many = len(self._seen) > self._most
        found: dict[str, Any] = {
            "type": "|".join(sorted(self._kinds)) or "null",
            "nulls": rows - self._present,
            "distinct": f"more than {self._most:,}" if many else len(self._seen),
        }
        if self._extremes is not None and self._ordered:
            found["min"], found["max"] = map(_short, self._extremes)
        return found | ({"examples": self._examples} if self._examples else {})

    def _count(self, solid: Sequence[Any]) -> None:
        if len(self._seen) > self._most:
            return
        for value in _once(solid):
            key = _key(value)
            if key in self._seen:
                continue
            self._seen.add(key)
            if len(self._examples) < EXAMPLES:
                self._examples.append(_short(value))
            if len(self._seen) > self._most:
                return

    def _compare(self, solid: Sequence[Any]) -> None:
        if not self._ordered:
            return
        if self._kinds & _UNORDERED:
            self._ordered = False
            return
        try:
            low, high = min(solid), max(solid)
            if self._extremes is not None:
                low, high = min(low, self._extremes[0]), max(high, self._extremes[1])
        except TypeError:  # values of several types cannot be ordered
            self._ordered = False
            return
        self._extremes = _prefix(low), _prefix(high)


def _once(values: Sequence[Any]) -> Iterable[Any]:
    try:
        return dict.fromkeys(values)
    except TypeError:  # lists and dicts are not hashable
        return values


def _key(value: Any) -> Any:
    """A small value that is equal for equal values."""
    if isinstance(value, (list, dict)) or (isinstance(value, (str, bytes)) and len(value) > _LONG):
        return blake2b(repr(value).encode("utf-8", "replace"), digest_size=16).digest()
    return value


def _prefix(value: Any) -> Any:
    return value[:_PREFIX] if isinstance(value, (str, bytes)) else value


def _short(value: Any) -> Any:
    value = value[: 4 * _SHOWN] if isinstance(value, (str, bytes)) else value
    viewed = json_value(value)
    if isinstance(viewed, (list, dict)):
        viewed = json_bytes(viewed).decode()
    return f"{viewed[:_SHOWN]}…" if isinstance(viewed, str) and len(viewed) > _SHOWN else viewed


def _whole(column: dict[str, Any]) -> dict[str, Any]:
    return column


def _one_example(column: dict[str, Any]) -> dict[str, Any]:
    return {name: value[:1] if name == "examples" else value for name, value in column.items()}


def _type_only(column: dict[str, Any]) -> dict[str, Any]:
    return {"name": column["name"], "type": column["type"]}


def _fewer_columns(described: BodyDescription) -> BodyDescription:
    """The first columns, as many as fit."""
    room, kept = DESCRIBED_BYTES - 200, 0
    for column in described.columns:
        room -= len(json_bytes(column)) + 1
        if room < 0:
            break
        kept += 1
    return BodyDescription(
        kind=described.kind,
        media_type=described.media_type,
        facts={**described.facts, "columns_left_out": len(described.columns) - kept},
        columns=described.columns[:kept],
    )
