"""Reads versions of feeds and the changes between them: the port, and its adapter over the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from broker_plane.errors import BodyNotFoundError
from broker_plane.plane.feeds.changes import (
    Changes,
    check_rows,
    compare_versions,
    delta_chain,
    delta_size,
    feed_gap,
    from_delta,
    initial_changes,
    no_changes,
    version_deleted,
)
from broker_plane.plane.feeds.ports import FeedLog
from broker_plane.plane.feeds.tables import Tables
from broker_plane.tabular.delta import Delta, Key, by_key, joined, read_delta, row_key, settled
from broker_plane.wire.feeds import Notice

T = TypeVar("T")


class VersionReader(Protocol):
    """Reads versions of a feed: the plane from the store, a holder of a grant through the plane."""

    async def rows(self, notice: Notice) -> Any:
        """Return all rows of the version, or the bytes of an opaque one.

        Raises:
            FeedNotFoundError: the version is no longer retained.
        """

    async def changes(self, notice: Notice, since: int) -> Changes:
        """Return the changes from version `since` (0: no rows) to this one; none if `since` is this or a later one.

        Raises:
            FeedNotFoundError: the version is no longer retained.
            FeedGapError: neither is `since`, nor the deltas after it.
        """


class StoredVersions:
    """The VersionReader port over the store.

    Changes are computed from published deltas if all of them are stored and they are smaller than the version, and
    else by comparing the two versions.
    """

    def __init__(self, log: FeedLog, tables: Tables) -> None:
        self._log = log
        self._tables = tables

    async def rows(self, notice: Notice) -> Any:
        """As `VersionReader.rows`."""
        try:
            if notice.body.kind == "bytes":
                return await self._tables.raw(notice.body)
            return await self._tables.rows(notice.body)
        except BodyNotFoundError as error:
            raise version_deleted(notice) from error

    async def changes(self, notice: Notice, since: int) -> Changes:
        """As `VersionReader.changes`."""
        if since >= notice.version:
            return no_changes(notice, since)
        check_rows(notice)
        if since < 1:
            rows = await self.rows(notice)
            return await self._do(notice, len(rows), partial(initial_changes, notice, rows))
        between = await self._between(notice, since)
        steps = delta_chain(between, notice, since)
        before = between[0] if between and between[0].version == since else None
        if steps and (before is None or delta_size(steps) < notice.body.size):
            with suppress(_AmbiguousError):
                return await self._joined(notice, since, steps, before)
        old = await self._old(before, notice, since)
        new = await self.rows(notice)
        keys = None if before is None else before.key
        return await self._do(notice, len(old) + len(new), partial(compare_versions, notice, new, since, old, keys))

    async def _old(self, before: Notice | None, notice: Notice, since: int) -> list[dict[str, Any]]:
        """Return the rows of version `since`, whose notice is `before` if it is retained."""
        if before is None:
            raise feed_gap(notice, since)
        if before.body.kind == "bytes":
            return []
        try:
            return await self._tables.rows(before.body)
        except BodyNotFoundError as error:
            raise feed_gap(notice, since) from error

    async def _joined(self, notice: Notice, since: int, steps: Sequence[Notice], before: Notice | None) -> Changes:
        """Join the deltas of `steps`."""
        delta, key = Delta(), notice.key
        once: set[Key] = set()
        repeated: set[Key] = set()
        try:
            for step in steps:
                assert step.delta is not None  # noqa: S101  # for the type checker: `delta_chain` checked it
                rows = await self._tables.rows(step.delta)
                if len(steps) > 1:
                    await self._do(notice, len(rows), partial(_note, rows, key, once, repeated))
                delta = await self._do(notice, len(rows) + len(delta), partial(_joined, delta, rows, key))
            if repeated:
                # A row that was changed back did not change, which only its values in version `since` show.
                if before is None:
                    raise _AmbiguousError
                rows = await self._old(before, notice, since)
                delta = await self._do(notice, len(rows), partial(_settled, delta, repeated, rows, key))
        except BodyNotFoundError as error:
            raise version_deleted(notice) from error
        return from_delta(notice, since, delta, delta_size(steps))

    async def _do(self, notice: Notice, rows: int, make: Callable[[], T]) -> T:
        return await self._tables.account(notice.body).do(rows, make)

    async def _between(self, notice: Notice, since: int) -> list[Notice]:
        """Return the stored notices from version `since` up to this one."""
        if notice.version == since + 1 and notice.delta is not None and delta_size([notice]) < notice.body.size:
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
    """The deltas alone do not determine the changes."""


def _note(rows: list[dict[str, Any]], key: Sequence[str], once: set[Key], repeated: set[Key]) -> None:
    """Collect the keys in a delta, and those that an earlier delta had already."""
    named = {row_key(row, key) for row in rows}
    repeated |= named & once
    once |= named


def _joined(delta: Delta, rows: list[dict[str, Any]], key: Sequence[str]) -> Delta:
    return joined(delta, read_delta(rows, key))


def _settled(delta: Delta, repeated: set[Key], before: list[dict[str, Any]], key: Sequence[str]) -> Delta:
    return settled(delta, repeated, by_key(before, key), key)
