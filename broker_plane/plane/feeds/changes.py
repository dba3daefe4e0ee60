"""What a subscriber that has one version must know to have another: what was added, changed and removed in between.

It is made of the deltas that were published in between, where they are all there and fewer bytes than the version, and
else by comparing the two versions. Either way it is the same: what a subscriber had is never said to be added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from broker_plane.errors import BodyNotFoundError, FeedGapError, FeedNotFoundError, TabularError
from broker_plane.plane.feeds.ports import FeedLog
from broker_plane.plane.feeds.tables import Tables
from broker_plane.tabular.delta import (
    Delta,
    Key,
    apply_delta,
    by_key,
    difference,
    joined,
    keyed,
    read_delta,
    row_key,
    settled,
    shown_key,
)
from broker_plane.wire.feeds import Notice

T = TypeVar("T")


@dataclass(slots=True)
class Changes:
    """What leads from version `since` to `version`.

    `added` rows were not in version `since`; `changed` ones were, with other values: they hold their key and what
    changed, and None for a column that they lost; `removed` ones were, and hold their key. Rows of a feed without a
    key, or whose key is not shown, never change: the old one is removed and the new one added, each as it is.

    `whole` says that the version was read to find this out, and not deltas only; nothing else follows from it. `size`
    is the stored bytes of that version or of those deltas.
    """

    feed: str
    key: tuple[str, ...]
    since: int
    version: int
    whole: bool
    size: int
    delta: Delta = field(repr=False)
    rekeyed: tuple[str, ...] | None = None
    """What tells rows apart in this version, if that may be another key than in version `since`."""

    @property
    def added(self) -> list[dict[str, Any]]:
        return list(self.delta.added.values())

    @property
    def changed(self) -> list[dict[str, Any]]:
        lost = self.delta.gone
        return [{**row, **dict.fromkeys(lost.get(value, ()))} for value, row in self.delta.changed.items()]

    @property
    def removed(self) -> list[dict[str, Any]]:
        return list(self.delta.removed.values())

    def apply(self, table: dict[Key, dict[str, Any]]) -> None:
        """Bring `table`, rows by the tuple of their key, to `version`; doing it again changes nothing.

        Where rows have no key, `table` is one that began empty and that only this method changed.
        """
        if not self.since:
            table.clear()
        elif self.rekeyed is not None:
            rows = list(table.values())
            table.clear()
            with suppress(TabularError):  # rows without the new key are all removed
                table.update((value, dict(row)) for value, row in keyed(rows, self.rekeyed).items())
        apply_delta(table, self.delta)


class Versioned(Protocol):
    """Where the versions of a feed are read: by the plane from the store, by a guest with its grant."""

    async def rows(self, notice: Notice) -> Any:
        """All rows of the version; the bytes of an opaque one.

        Raises:
            FeedNotFoundError: retention took it.
        """

    async def changes(self, notice: Notice, since: int) -> Changes:
        """What leads from version `since` (0: nothing) to this one; nothing, where `since` is this one or a later.

        Raises:
            FeedNotFoundError: retention took it.
            FeedGapError: retention took `since` and what came after it, so nobody knows.
        """


class StoredVersions:
    """The Versioned port over the store."""

    def __init__(self, log: FeedLog, tables: Tables) -> None:
        self._log = log
        self._tables = tables

    async def rows(self, notice: Notice) -> Any:
        try:
            if notice.body.kind == "bytes":
                return await self._tables.raw(notice.body)
            return await self._tables.rows(notice.body)
        except BodyNotFoundError as error:
            raise taken(notice) from error

    async def changes(self, notice: Notice, since: int) -> Changes:
        if since >= notice.version:
            # A notice that comes again after later ones: what it says is in there.
            return Changes(notice.feed, notice.key, since, notice.version, False, 0, Delta())
        check_rows(notice)
        if since < 1:
            rows = await self.rows(notice)
            return await self._do(notice, len(rows), partial(first, notice, rows))
        kept = await self._between(notice, since)
        steps = chain(kept, notice, since)
        before = kept[0] if kept and kept[0].version == since else None
        if steps and (before is None or _size(steps) < notice.body.size):
            with suppress(_AmbiguousError):
                return await self._joined(notice, since, steps, before)
        old = await self._old(before, notice, since)
        new = await self.rows(notice)
        keys = None if before is None else before.key
        return await self._do(notice, len(old) + len(new), partial(compared, notice, new, since, old, keys))

    async def _old(self, before: Notice | None, notice: Notice, since: int) -> list[dict[str, Any]]:
        """The rows of the version `since`, whose notice is `before` if it is kept."""
        if before is None:
            raise gap(notice, since)
        if before.body.kind == "bytes":
            return []
        try:
            return await self._tables.rows(before.body)
        except BodyNotFoundError as error:
            raise gap(notice, since) from error

    async def _joined(self, notice: Notice, since: int, steps: Sequence[Notice], before: Notice | None) -> Changes:
        """The changes that the deltas of `steps` are."""
        delta, key = Delta(), notice.key
        once: set[Key] = set()
        again: set[Key] = set()
        try:
            for step in steps:
                assert step.delta is not None  # noqa: S101  # for the type checker: `chain` saw it
                rows = await self._tables.rows(step.delta)
                if len(steps) > 1:
                    await self._do(notice, len(rows), partial(_note, rows, key, once, again))
                delta = await self._do(notice, len(rows) + len(delta), partial(_joined, delta, rows, key))
            if again:
                # What was changed back did not change; that takes the values of before.
                if before is None:
                    raise _AmbiguousError
                rows = await self._old(before, notice, since)
                delta = await self._do(notice, len(rows), partial(_settled, delta, again, rows, key))
        except BodyNotFoundError as error:
            raise taken(notice) from error
        return Changes(notice.feed, key, since, notice.version, False, _size(steps), delta)

    async def _do(self, notice: Notice, rows: int, make: Callable[[], T]) -> T:
        return await self._tables.account(notice.body).do(rows, make)

    async def _between(self, notice: Notice, since: int) -> list[Notice]:
        """The notices from `since` up to this one, those that are kept."""
        if notice.version == since + 1 and notice.delta is not None and _size([notice]) < notice.body.size:
            return [notice]
        found: list[Notice] = []
        async with aclosing(self._log.read(notice.feed)) as notices:
            async for each in notices:
                if each.version >= since:
                    found.append(each)
                if each.version >= notice.version:
                    break
        return found


class _AmbiguousError(Exception):
    """The deltas alone do not say what changed."""


def _note(rows: list[dict[str, Any]], key: Sequence[str], once: set[Key], again: set[Key]) -> None:
    """Note the rows that a delta names, and those that one before it named already."""
    named = {row_key(row, key) for row in rows}
    again |= named & once
    once |= named


def _joined(delta: Delta, rows: list[dict[str, Any]], key: Sequence[str]) -> Delta:
    return joined(delta, read_delta(rows, key))


def _settled(delta: Delta, again: set[Key], before: list[dict[str, Any]], key: Sequence[str]) -> Delta:
    return settled(delta, again, by_key(before, key), key)


def _size(steps: Sequence[Notice]) -> int:
    return sum(step.delta.size for step in steps if step.delta)


def chain(notices: Sequence[Notice], target: Notice, since: int) -> list[Notice]:
    """Of `notices`, those whose deltas lead from `since` to `target`; empty where one is missing.

    That is so at a new key, with a version that an earlier version of this package published, and behind retention.
    """
    steps = [each for each in notices if since < each.version <= target.version]
    if [each.version for each in steps] != list(range(since + 1, target.version + 1)):
        return []
    if any(each.delta is None or each.key != target.key for each in steps):
        return []
    return steps


def first(notice: Notice, rows: list[dict[str, Any]]) -> Changes:
    """All rows of the version, for who has nothing."""
    delta = difference((), rows, notice.key, notice.key)
    return Changes(notice.feed, notice.key, 0, notice.version, True, notice.body.size, delta)


def compared(
    notice: Notice,
    rows: list[dict[str, Any]],
    since: int,
    old: list[dict[str, Any]],
    key_before: tuple[str, ...] | None = None,
) -> Changes:
    """What leads from the rows `old` of version `since`, whose key may not be known, to those of `notice`."""
    key = notice.key
    delta = difference(old, rows, key, key_before or key)
    rekeyed = None if key_before == key else shown_key(rows, key)
    return Changes(notice.feed, key, since, notice.version, True, notice.body.size, delta, rekeyed)


def compared_with(notice: Notice, rows: list[dict[str, Any]], since: int, had: Rows) -> Changes:
    """What leads from the rows that a subscriber says it had to those of `notice`.

    Columns that none of its rows has are not compared, because it does not keep them; and None is the same as nothing.
    """
    old = [dict(row) for row in (had.values() if isinstance(had, Mapping) else had)]
    known = {name for row in old for name in row} if old else {name for row in rows for name in row}
    new = [_solid(row, known | set(notice.key)) for row in rows]
    changes = compared(notice, new, since, [_solid(row, known) for row in old], notice.key)
    full = dict(zip(keyed(new, shown_key(new, notice.key)), rows, strict=True))
    changes.delta.added = {value: dict(full[value]) for value in changes.delta.added}
    return changes


def _solid(row: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in names and value is not None}


Rows = Mapping[Key, Mapping[str, Any]] | Iterable[Mapping[str, Any]]


def check_rows(notice: Notice) -> None:
    """Raise FeedNotFoundError where the version is opaque."""
    if notice.body.kind == "bytes":
        raise FeedNotFoundError("This feed's versions are opaque: they have no rows that change. Take notice.rows()")


def gap(notice: Notice, since: int) -> FeedGapError:
    return FeedGapError(
        f"What changed in {notice.feed} since version {since} is not known any more: retention took it. Name the rows "
        f"that you have: notice.changes({since}, had=rows); or begin anew: notice.changes(0)"
    )


def taken(notice: Notice) -> FeedNotFoundError:
    return FeedNotFoundError(f"Version {notice.version} of {notice.feed} is not kept any more; go on with a newer one")
