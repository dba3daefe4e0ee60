"""A version of a feed that is to be published, and the table that it results in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from broker_plane.errors import FeedNotFoundError, SchemaError, TabularError
from broker_plane.plane.feeds.retention import Retention
from broker_plane.tabular.delta import Delta, Key, apply_delta, by_key, delta_of, row_key
from broker_plane.tabular.plain import plain_rows
from broker_plane.tabular.schema import check_compatible, check_declared, declared_schema, kept, schema_of
from broker_plane.wire.feeds import CHANGE, GONE, Notice

Kind = Literal["snapshot", "delta"]
_Schema = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """How a version is published: the feed, its key, and the meaning of the rows.

    The rows of a `snapshot` are all rows of the version. Those of a `delta` are new or changed, with their key and the
    new values; `removed` are the keys of rows that the version does not have any more.
    """

    feed: str
    key: tuple[str, ...] = ()
    kind: Kind = "snapshot"
    removed: Sequence[Any] = ()
    columns: tuple[str, ...] | None = None
    """All columns of the feed, declared. None: those it had before, and those of the rows."""

    new_schema: bool = False
    """Whether columns may be dropped, and their types and the key changed."""

    retention: Retention = field(default_factory=Retention)

    def check(self) -> None:
        """Raise TabularError unless the fields fit together."""
        if self.kind not in get_args(Kind):
            raise TabularError(f"kind is 'snapshot' (all rows) or 'delta' (new and changed rows), not {self.kind!r}")
        if isinstance(self.removed, (str, bytes)) or not isinstance(self.removed, (Sequence, Set)):
            raise TabularError("removed is a list of keys: removed=[12], or removed=[(1, 2)] for a key of two columns")
        if self.removed and self.kind != "delta":
            raise TabularError('removed requires kind="delta"; a snapshot removes the rows that it does not contain')

    def check_rows(self, rows: Iterable[Mapping[str, Any]], last: Notice | None) -> None:
        """Raise unless `rows` can follow the version `last`.

        Raises:
            TabularError: a reserved column, or a delta without a key.
            FeedNotFoundError: a delta of a feed without a version.
        """
        if any(CHANGE in row or GONE in row for row in rows):
            raise TabularError(f"The columns {CHANGE} and {GONE} are reserved for deltas; rename yours")
        if self.kind == "delta" and not self.key:
            raise TabularError('A delta needs its feed\'s key: publish(rows, feed=…, key="id", kind="delta")')
        if self.kind == "delta" and last is None:
            raise FeedNotFoundError(f"The feed {self.feed} has no version yet; publish a snapshot first")

    def check_opaque(self) -> None:
        """Raise TabularError unless the version can be opaque."""
        if self.key or self.kind == "delta":
            raise TabularError("An opaque body has no key and no delta; publish complete versions without key=")

    def compares_with(self, last: Notice | None) -> bool:
        """Return whether the version is compared with the rows of the version `last`."""
        return last is not None and bool(self.key) and last.body.kind == "rows" and self.key == last.key


@dataclass(frozen=True, slots=True)
class VersionTable:
    """The rows of a version that is not stored yet, its changes (None: unknown), and its schema."""

    rows: list[Mapping[str, Any]]
    delta: Delta | None
    columns: _Schema

    def equals(self, last: Notice) -> bool:
        """Return whether the feed's last version has the same rows by the same key, and the same columns."""
        return self.delta is not None and not len(self.delta) and self.columns.keys() == last.columns.keys()


def version_table(
    rows: list[Mapping[str, Any]],
    columns: Sequence[str],
    version: Version,
    last: Notice | None,
    before: list[dict[str, Any]] | None,
) -> VersionTable:
    """Compute the table of `version`: a pass over all rows, to be run in a thread.

    `columns` are those that `rows` declare. `before` are the rows of the version `last`, if they are compared.

    Raises:
        SchemaError, TabularError: it cannot follow `last`.
    """
    if not version.key:
        return VersionTable(rows, None, _schema(rows, columns, version, last))
    old: dict[Key, Any] = {} if before is None else by_key(before, version.key)
    new = by_key(rows, version.key)
    _check_keys(new, version.key)
    if version.kind == "delta":
        if before is None:
            raise SchemaError(f"This feed's key is {', '.join(last.key) if last else ''}; the delta has another one")
        new = _patched(old, rows, version)
        rows = list(new.values())
    delta = None if before is None else delta_of(old, new, version.key)
    return VersionTable(rows, delta, _schema(rows, columns, version, last))


def _schema(rows: list[Mapping[str, Any]], columns: Sequence[str], version: Version, last: Notice | None) -> _Schema:
    """Return the feed's columns with this version: those of the rows, or those declared if there are no rows."""
    seen = schema_of(rows)
    before = {} if last is None or version.new_schema else last.columns
    if version.columns is not None:
        check_declared(version.columns, seen, before)
    if last is not None and not version.new_schema:
        # A delta drops no column: its rows lack the values that did not change.
        names = {**dict.fromkeys(before, ()), **seen} if version.kind == "delta" else seen
        check_compatible(before, names, version.key, last.key)
    return kept(before, declared_schema(seen, (*(version.columns or ()), *columns)), rows=bool(rows))


def _patched(old: Mapping[Key, Any], rows: list[Mapping[str, Any]], version: Version) -> dict[Key, Any]:
    """Return the complete table after a delta."""
    table = {value: dict(row) for value, row in old.items()}
    change = Delta()
    for value, row in by_key(rows, version.key).items():
        target = change.changed if value in table else change.added
        target[value] = dict(row)
    for removed in version.removed:
        (row,) = plain_rows([removed_row(removed, version.key)])
        value = row_key(row, version.key, "to be removed")
        if value in change.added or value in change.changed:
            raise TabularError(f"The key {removed!r} is both in the rows and in removed")
        change.removed[value] = dict(row)
    apply_delta(table, change)
    return table


def removed_row(removed: Any, key: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the key of a removed row by its columns; it is given as a row, a value, or a tuple of values."""
    if isinstance(removed, Mapping):
        return removed
    values = tuple(removed) if isinstance(removed, (tuple, list)) else (removed,)
    if len(values) != len(key):
        raise TabularError(f"removed has {removed!r}, but the key of this feed is {', '.join(key)}; give each of these")
    return dict(zip(key, values, strict=True))


def _check_keys(keys: Iterable[Key], key: tuple[str, ...]) -> None:
    for value in keys:
        for name, each in zip(key, value, strict=True):
            if each != each:
                raise TabularError(f"A row has NaN or NaT as its {name!r}; it equals nothing and cannot be a key")
