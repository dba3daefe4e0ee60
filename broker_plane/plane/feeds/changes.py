"""The changes between two versions of a feed: rows that were added, changed and removed. Pure.

A subscriber that has one version is given the changes that lead to another. They are computed from the deltas that were
published in between, or by comparing the two versions; the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from broker_plane.errors import FeedGapError, FeedNotFoundError, TabularError
from broker_plane.tabular.delta import (
    Delta,
    Key,
    apply_delta,
    difference,
    keyed,
    shown_key,
)
from broker_plane.wire.feeds import Notice

Rows = Mapping[Key, Mapping[str, Any]] | Iterable[Mapping[str, Any]]
"""Rows of a subscriber: a list, or a dict by key."""


@dataclass(slots=True)
class Changes:
    """The changes that lead from version `since` to `version`.

    `added` rows are new and complete. `changed` rows have their key and the new values, and None for each column that
    they lost. `removed` rows have their key. Without a key, or if a grant hides it, rows never change: the old row is
    removed and the new one added, both complete.

    `whole` tells that the version itself was read, and not only deltas. `size` is the number of stored bytes that were
    read of that version or of those deltas. Both are for information.
    """

    feed: str
    key: tuple[str, ...]
    since: int
    version: int
    whole: bool
    size: int
    delta: Delta = field(repr=False)
    rekeyed: tuple[str, ...] | None = None
    """The columns that identify rows in this version, if version `since` may have had another key."""

    @property
    def added(self) -> list[dict[str, Any]]:
        """Complete rows that version `since` did not have."""
        return list(self.delta.added.values())

    @property
    def changed(self) -> list[dict[str, Any]]:
        """The key and the changed columns of rows that version `since` had; None for a column that was lost."""
        lost = self.delta.gone
        return [{**row, **dict.fromkeys(lost.get(value, ()))} for value, row in self.delta.changed.items()]

    @property
    def removed(self) -> list[dict[str, Any]]:
        """The keys of rows that this version does not have any more."""
        return list(self.delta.removed.values())

    def apply(self, table: dict[Key, dict[str, Any]]) -> None:
        """Bring `table`, rows by the tuple of their key, to `version`. Idempotent.

        For a feed without a key, `table` must have been empty at first and changed by this method only.
        """
        if not self.since:
            table.clear()
        elif self.rekeyed is not None:
            rows = list(table.values())
            table.clear()
            with suppress(TabularError):  # rows without the new key are all removed
                table.update((value, dict(row)) for value, row in keyed(rows, self.rekeyed).items())
        apply_delta(table, self.delta)


def no_changes(notice: Notice, since: int) -> Changes:
    """Return empty changes: `since` is this version, or a later one because the notice was redelivered."""
    return from_delta(notice, since, Delta())


def from_delta(notice: Notice, since: int, delta: Delta, size: int = 0) -> Changes:
    """Return the changes in `delta`, for which `size` bytes of deltas were read."""
    return Changes(notice.feed, notice.key, since, notice.version, False, size, delta)


def initial_changes(notice: Notice, rows: list[dict[str, Any]]) -> Changes:
    """Return all `rows` of the version as added, for a subscriber that has none."""
    delta = difference((), rows, notice.key, notice.key)
    return Changes(notice.feed, notice.key, 0, notice.version, True, notice.body.size, delta)


def compare_versions(
    notice: Notice,
    rows: list[dict[str, Any]],
    since: int,
    old: list[dict[str, Any]],
    key_before: tuple[str, ...] | None = None,
) -> Changes:
    """Return the changes from the rows `old` of version `since` to `rows`. `key_before` is None if it is unknown."""
    key = notice.key
    delta = difference(old, rows, key, key_before or key)
    rekeyed = None if key_before == key else shown_key(rows, key)
    return Changes(notice.feed, key, since, notice.version, True, notice.body.size, delta, rekeyed)


def compare_with_rows(notice: Notice, rows: list[dict[str, Any]], since: int, had: Rows) -> Changes:
    """Return the changes from the rows that a subscriber has to `rows`.

    Columns that none of its rows has are not compared, because it does not store them. None equals an absent value.
    """
    old = [dict(row) for row in (had.values() if isinstance(had, Mapping) else had)]
    known = {name for row in old for name in row} if old else {name for row in rows for name in row}
    new = [_present(row, known | set(notice.key)) for row in rows]
    changes = compare_versions(notice, new, since, [_present(row, known) for row in old], notice.key)
    full = dict(zip(keyed(new, shown_key(new, notice.key)), rows, strict=True))
    changes.delta.added = {value: dict(full[value]) for value in changes.delta.added}
    return changes


def _present(row: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in names and value is not None}


def delta_chain(notices: Sequence[Notice], target: Notice, since: int) -> list[Notice]:
    """Return those of `notices` whose deltas lead from `since` to `target`; empty if one is missing.

    One is missing after a change of the key, for versions of an earlier release, and for versions that were deleted.
    """
    steps = [each for each in notices if since < each.version <= target.version]
    if [each.version for each in steps] != list(range(since + 1, target.version + 1)):
        return []
    if any(each.delta is None or each.key != target.key for each in steps):
        return []
    return steps


def delta_size(steps: Sequence[Notice]) -> int:
    """Return the stored bytes of the deltas of `steps`."""
    return sum(step.delta.size for step in steps if step.delta)


def check_rows(notice: Notice) -> None:
    """Raise FeedNotFoundError if the version is opaque."""
    if notice.body.kind == "bytes":
        raise FeedNotFoundError("This feed has opaque versions, which have no changes; use message.rows()")


def feed_gap(notice: Notice, since: int) -> FeedGapError:
    """Return the error for changes since a version that is no longer retained."""
    return FeedGapError(
        f"The changes of {notice.feed} since version {since} are no longer available: retention deleted it. Compare "
        f"with the rows that you have: message.changes({since}, had=rows); or start over: message.changes(0)"
    )


def version_deleted(notice: Notice) -> FeedNotFoundError:
    """Return the error for a version that is no longer retained."""
    return FeedNotFoundError(
        f"Version {notice.version} of {notice.feed} is no longer retained; continue with a newer one"
    )
