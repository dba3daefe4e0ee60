"""The difference of two tables by key, as the rows of a body, and back. Pure.

The rows of a delta lack what did not change: an added row has all of its columns, a changed one its key and the changed
columns, a removed one its key. `_change` says which it is; `_gone` names columns that a row lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from broker_plane.errors import TabularError
from broker_plane.tabular.types import pack
from broker_plane.wire.feeds import CHANGE, GONE

Row = Mapping[str, Any]
Key = tuple[Any, ...]
_MISSING = object()


@dataclass(slots=True)
class Delta:
    """`added` has whole rows; `changed` key and changed columns; `removed` the key. All by key, in order."""

    added: dict[Key, dict[str, Any]] = field(default_factory=dict)
    changed: dict[Key, dict[str, Any]] = field(default_factory=dict)
    removed: dict[Key, dict[str, Any]] = field(default_factory=dict)
    gone: dict[Key, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.added) + len(self.changed) + len(self.removed)


def row_key(row: Row, key: Sequence[str], place: int | str = "") -> Key:
    """The values of the key columns of `row`.

    Raises:
        TabularError: a value is absent, None, a list or a map.
    """
    values = []
    for name in key:
        value = row.get(name)
        if value is None or isinstance(value, (list, dict)):
            raise TabularError(
                f"Row {place} has no {name!r}, or one that cannot be a key; every row of a feed needs its key"
            )
        values.append(value)
    return tuple(values)


def by_key(rows: Iterable[Row], key: Sequence[str]) -> dict[Key, Row]:
    """The rows by key, in order.

    Raises:
        TabularError: a row has no key, or the key of another row.
    """
    found: dict[Key, Row] = {}
    for place, row in enumerate(rows):
        value = row_key(row, key, place)
        if value in found:
            raise TabularError(f"Two rows have the key {_said(value)}; a feed's key must be unique")
        found[value] = row
    return found


def delta_of(before: Mapping[Key, Row], after: Mapping[Key, Row], key: Sequence[str]) -> Delta:
    """The delta from `before` to `after`. Values are equal if type and value are: 1, 1.0 and True differ."""
    delta = Delta()
    for value, row in after.items():
        _note_row(delta, value, before.get(value), row, key)
    delta.removed = _removed(before, after, key)
    return delta


def _note_row(delta: Delta, value: Key, old: Row | None, row: Row, key: Sequence[str]) -> None:
    """Add to `delta` the change from the row `old` to `row`; nothing if they are equal."""
    if old is None:
        delta.added[value] = dict(row)
        return
    changed = {name: new for name, new in row.items() if not same_value(old.get(name, _MISSING), new)}
    lost = tuple(name for name in old if name not in row)
    if changed or lost:
        delta.changed[value] = {**dict(zip(key, value, strict=True)), **changed}
        if lost:
            delta.gone[value] = lost


def difference(before: Sequence[Row], after: Sequence[Row], key: Sequence[str], key_before: Sequence[str]) -> Delta:
    """The delta from the rows `before` to the rows `after`, whose key is `key`.

    If rows have no key, or a grant hides it, a row is identified by its content: it is added or removed as a whole. The
    key may differ from the one before. Rows that have both are matched by the new one; otherwise all rows are new.
    """
    shown = shown_key(after, key)
    new = keyed(after, shown)
    try:
        old = keyed(before, shown)
    except TabularError:
        # If the key before is unknown, it may be this one, but then it does not identify these rows.
        shown_before = shown_key(before, key_before) if tuple(key_before) != tuple(key) else ()
        removed = _removed(keyed(before, shown_before), {}, shown_before)
        return Delta(added={value: dict(row) for value, row in new.items()}, removed=removed)
    if shown:
        return delta_of(old, new, shown)
    added = {value: dict(row) for value, row in new.items() if value not in old}
    return Delta(added=added, removed=_removed(old, new, ()))


def shown_key(rows: Sequence[Row], key: Sequence[str]) -> tuple[str, ...]:
    """`key`, if the rows have it, and otherwise none: a grant may hide it."""
    return tuple(key) if all(name in row for row in rows[:1] for name in key) else ()


def keyed(rows: Iterable[Row], key: Sequence[str]) -> dict[Key, Row]:
    """As `by_key`; without a key, rows by their content and by the number of equal rows before."""
    if key:
        return by_key(rows, key)
    seen: Counter[bytes] = Counter()
    found: dict[Key, Row] = {}
    for row in rows:
        digest = sha256(pack(sorted(row.items(), key=_name))).digest()
        found[(digest, seen[digest])] = row
        seen[digest] += 1
    return found


def _removed(before: Mapping[Key, Row], after: Mapping[Key, Row], key: Sequence[str]) -> dict[Key, dict[str, Any]]:
    """The key of each removed row; without a key, the row."""
    gone = {value: row for value, row in before.items() if value not in after}
    return {value: dict(zip(key, value, strict=True)) if key else dict(row) for value, row in gone.items()}


def _name(item: tuple[str, Any]) -> str:
    return item[0]


def delta_rows(delta: Delta) -> list[dict[str, Any]]:
    """The rows of the delta's body."""
    rows: list[dict[str, Any]] = [{CHANGE: "added", **row} for row in delta.added.values()]
    for value, row in delta.changed.items():
        lost = {GONE: list(delta.gone[value])} if value in delta.gone else {}
        rows.append({CHANGE: "changed", **row, **lost})
    return rows + [{CHANGE: "removed", **row} for row in delta.removed.values()]


def read_delta(rows: Iterable[Row], key: Sequence[str]) -> Delta:
    """The delta that `delta_rows` encoded.

    Raises:
        TabularError: the rows are not a delta.
    """
    delta = Delta()
    for place, row in enumerate(rows):
        value = row_key(row, key, place)
        change = row.get(CHANGE)
        fields = {name: each for name, each in row.items() if name not in (CHANGE, GONE)}
        if change == "added":
            delta.added[value] = fields
        elif change == "changed":
            delta.changed[value] = fields
            if GONE in row:
                delta.gone[value] = tuple(row[GONE])
        elif change == "removed":
            delta.removed[value] = fields
        else:
            raise TabularError(f"Row {place} is not a row of a delta: its {CHANGE} is {change!r}")
    return delta


def joined(first: Delta, then: Delta) -> Delta:
    """One delta with the effect of `first` followed by `then`."""
    result = Delta(dict(first.added), dict(first.changed), dict(first.removed), dict(first.gone))
    for value, row in then.removed.items():
        added_meanwhile = result.added.pop(value, None) is not None
        result.changed.pop(value, None)
        result.gone.pop(value, None)
        if not added_meanwhile:
            result.removed[value] = row
    for value, row in then.added.items():
        # Removed and added again: all of it is new, and what it lacks of the old row is unknown here.
        result.added[value] = row
    for value, row in then.changed.items():
        lost = then.gone.get(value, ())
        target = result.added if value in result.added else result.changed
        merged = {name: each for name, each in target.get(value, {}).items() if name not in lost} | row
        target[value] = merged
        if target is result.changed and (value in result.gone or lost):
            kept = [name for name in (*result.gone.get(value, ()), *lost) if name not in row]
            result.gone[value] = tuple(dict.fromkeys(kept))
    return result


def settled(delta: Delta, keys: Collection[Key], before: Mapping[Key, Row], key: Sequence[str]) -> Delta:
    """`delta`, joined from several, as one: for rows by `keys` that several of them name, their state `before` decides.

    A row that was removed and added again is changed or equal, and a row that was changed back is unchanged.
    """
    result = Delta(dict(delta.added), dict(delta.changed), dict(delta.removed), dict(delta.gone))
    for value in keys:
        added, changed = result.added.pop(value, None), result.changed.pop(value, None)
        lost, old = result.gone.pop(value, ()), before.get(value)
        if added is not None:
            row: Row = added
        elif changed is not None and old is not None:
            row = {name: each for name, each in old.items() if name not in lost} | changed
        else:
            if old is None:
                result.removed.pop(value, None)
            continue
        result.removed.pop(value, None)
        _note_row(result, value, old, row, key)
    return result


def apply_delta(table: dict[Key, dict[str, Any]], delta: Delta) -> None:
    """Apply `delta` to `table`, rows by key. Idempotent."""
    for value in delta.removed:
        table.pop(value, None)
    for value, row in delta.added.items():
        table[value] = dict(row)
    for value, row in delta.changed.items():
        lost = delta.gone.get(value, ())
        kept = {name: each for name, each in table.get(value, {}).items() if name not in lost}
        table[value] = {**kept, **row}


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are stored as the same: NaN equals NaN, and True is not 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_value(each, other[name]) for name, each in one.items())
    return bool(one == other or (one != one and other != other))


def _said(value: Key) -> str:
    return ", ".join(repr(each)[:40] for each in value)
