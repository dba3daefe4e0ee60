"""What a subscriber that has one version must pull to have another: the smallest correct set."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from broker_plane.errors import BodyNotFoundError, FeedNotFoundError
from broker_plane.plane.feeds.ports import FeedLog
from broker_plane.plane.feeds.tables import Tables
from broker_plane.tabular.delta import Delta, Key, apply_delta, by_key, joined, read_delta
from broker_plane.wire.feeds import Notice


@dataclass(slots=True)
class Changes:
    """What leads from version `since` to `version`. `size` is what was pulled for it, in stored bytes.

    Where `whole`, `added` are all rows of the version, and a row that is not among them is gone. Else `changed` rows
    hold their key and the columns that changed, and `removed` ones their key.
    """

    feed: str
    key: tuple[str, ...]
    since: int
    version: int
    whole: bool
    size: int
    delta: Delta = field(repr=False)

    @property
    def added(self) -> list[dict[str, Any]]:
        return list(self.delta.added.values())

    @property
    def changed(self) -> list[dict[str, Any]]:
        return list(self.delta.changed.values())

    @property
    def removed(self) -> list[dict[str, Any]]:
        return list(self.delta.removed.values())

    def apply(self, table: dict[Key, dict[str, Any]]) -> None:
        """Bring `table`, rows by the tuple of their key, to `version`; doing it again changes nothing."""
        if self.whole:
            table.clear()
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
        steps = None
        if 0 < since < notice.version and notice.key:
            steps = smallest(await self._between(notice, since), notice, since)
        if since >= notice.version:
            # A notice that comes again after later ones: what it says is in there.
            steps = []
        if steps is None:
            rows = await self.rows(notice)
            return await self._tables.account(notice.body).do(
                notice.body.rows or 0, partial(whole, notice, rows, since)
            )
        delta, account = Delta(), self._tables.account(notice.body)
        try:
            for step in steps:
                assert step.delta is not None  # noqa: S101  # for the type checker: `smallest` saw it
                rows = await self._tables.rows(step.delta)
                delta = await account.do(len(rows) + len(delta), partial(_joined, delta, rows, notice.key))
        except BodyNotFoundError as error:
            raise taken(notice) from error
        size = sum(step.delta.size for step in steps if step.delta)
        return Changes(notice.feed, notice.key, since, notice.version, False, size, delta)

    async def _between(self, notice: Notice, since: int) -> list[Notice]:
        """The notices behind `since`, up to this one, those that are kept."""
        if notice.version == since + 1:
            return [notice]
        # A feed's sequences grow at least as fast as its versions, so the wanted ones stand in at most this many.
        found: list[Notice] = []
        async with aclosing(self._log.read(notice.feed)) as notices:
            async for each in notices:
                if each.version > since:
                    found.append(each)
                if each.version >= notice.version:
                    break
        return found


def _joined(delta: Delta, rows: list[dict[str, Any]], key: Sequence[str]) -> Delta:
    return joined(delta, read_delta(rows, key))


def smallest(notices: Sequence[Notice], target: Notice, since: int) -> list[Notice] | None:
    """The notices whose deltas lead from `since` to `target`; None where the whole of `target` is the way.

    That is so where a delta is missing (a new schema or key, or retention), and where the whole is no more bytes.
    """
    if [each.version for each in notices] != list(range(since + 1, target.version + 1)):
        return None
    deltas = [each.delta for each in notices]
    if any(delta is None for delta in deltas) or any(each.key != target.key for each in notices):
        return None
    size = sum(delta.size for delta in deltas if delta)
    return list(notices) if size < target.body.size else None


def whole(notice: Notice, rows: Any, since: int) -> Changes:
    """All rows of the version as what changed; numbered where the feed has no key."""
    if notice.body.kind == "bytes":
        raise FeedNotFoundError("This feed's versions are opaque: they have no rows that change. Take notice.rows()")
    # A grant may hide the key; its rows are told apart by nothing then.
    keyed = notice.key and all(name in row for row in rows[:1] for name in notice.key)
    table = by_key(rows, notice.key) if keyed else {(place,): row for place, row in enumerate(rows)}
    added = {value: dict(row) for value, row in table.items()}
    return Changes(notice.feed, notice.key, since, notice.version, True, notice.body.size, Delta(added=added))


def taken(notice: Notice) -> FeedNotFoundError:
    return FeedNotFoundError(f"Version {notice.version} of {notice.feed} is not kept any more; go on with a newer one")
