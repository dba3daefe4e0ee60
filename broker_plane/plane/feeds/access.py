"""Feeds for holders of a grant: notices, versions and changes, each limited to the scope of the grant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec

from broker_plane.errors import FeedGapError, FeedNotFoundError, ForbiddenError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.fairness.work import Account, Pass
from broker_plane.plane.feeds.changes import Changes, from_delta, no_changes
from broker_plane.plane.feeds.ports import FeedLog
from broker_plane.plane.feeds.version_reader import StoredVersions
from broker_plane.plane.grants.grants import Opened
from broker_plane.tabular.delta import Delta, Key, by_key, delta_of
from broker_plane.tabular.frame import Frame
from broker_plane.wire.feeds import Notice, feed_id
from broker_plane.wire.grant import Kind
from broker_plane.wire.selector import WHOLE


class NoticeTail(Protocol):
    """Notices as they are published."""

    def follow(self, feed: str, start: int) -> AsyncGenerator[Notice, None]:
        """Yield the notices of `feed` from the stream sequence `start` on, without end."""


@dataclass(frozen=True, slots=True)
class OpenFeed:
    """A feed whose grant was opened."""

    name: str
    opened: Opened


class GrantedFeeds:
    """Opens grants of feeds. Like bodies, the versions of a feed are shown only to grants of their owner's keys."""

    def __init__(
        self,
        log: FeedLog,
        tail: NoticeTail,
        versions: StoredVersions,
        deliveries: Deliveries,
    ) -> None:
        self._log = log
        self._tail = tail
        self._versions = versions
        self._deliveries = deliveries
        self._names: dict[str, str] = {}

    async def open(self, text: str, who: str = "", puller: str = "") -> OpenFeed:
        """Return the feed that the grant `text` is for.

        Raises:
            GrantError: as `Deliveries.open`. ForbiddenError: the grant is for a body.
            FeedNotFoundError: the feed has no version.
        """
        return await self.of(await self._deliveries.open(text, who, puller))

    async def of(self, opened: Opened) -> OpenFeed:
        """Return the feed of a grant that is open already. Raises as `open`."""
        if opened.grant.kind is not Kind.FEED:
            raise ForbiddenError("This grant is for a body; pull it from its resource_url")
        if opened.grant.body not in self._names:
            self._names = {feed_id(name): name for name in await self._log.names()}
        if opened.grant.body not in self._names:
            raise FeedNotFoundError("This feed has no version")
        return OpenFeed(self._names[opened.grant.body], opened)

    async def check(self, feed: OpenFeed) -> None:
        """Raise GrantError once the grant has expired or was revoked."""
        await self._deliveries.grants.check(feed.opened, feed.opened.who)

    async def follow(self, feed: OpenFeed, start: int) -> AsyncGenerator[Notice, None]:
        """Yield the notices from the sequence `start` on, without end."""
        async with aclosing(self._tail.follow(feed.name, start)) as notices:
            async for notice in notices:
                if notice.body.owner == feed.opened.owner:
                    yield notice

    async def notices(self, feed: OpenFeed) -> list[Notice]:
        """Return the notices of all retained versions, oldest first."""
        async with aclosing(self._log.read(feed.name)) as notices:
            return [notice async for notice in notices if notice.body.owner == feed.opened.owner]

    async def version(self, feed: OpenFeed, version: int | None) -> Notice:
        """Return the notice of `version`; None is the newest.

        Raises:
            FeedNotFoundError: it is not published yet, or no longer retained.
        """
        last = await self._log.last(feed.name)
        if last is not None and last.body.owner == feed.opened.owner:
            if version in (None, last.version):
                return last
            for notice in await self.notices(feed):
                if notice.version == version:
                    return notice
        raise FeedNotFoundError(
            f"Version {version or 'last'} of {feed.name} is not published yet, or no longer retained"
        )

    async def body(self, feed: OpenFeed, notice: Notice) -> ScopedBody:
        """Return the version's body within the grant's scope; columns that the feed got later are empty."""
        body, scope = notice.body, feed.opened.grant.scope
        if body.kind == "rows" and not scope.shows_all:
            last = await self._log.last(feed.name)
            later = [name for name in (last.columns if last else ()) if name not in body.columns]
            body = msgspec.structs.replace(body, columns=(*body.columns, *later))
        return await self._deliveries.bodies.scope(feed.opened, body)

    async def changes(self, feed: OpenFeed, notice: Notice, since: int) -> Changes | None:
        """Return the changes from version `since` to `notice` within the scope; None: pull the version instead.

        If the scope has a `where`, rows enter and leave it when their values change. So both versions are compared as
        the grant shows them. Counted grants are charged for the changes as for a preview.

        Raises:
            FeedNotFoundError: the version is no longer retained.
            GrantUsedError, GrantInUseError: the grant has no use left to charge.
        """
        changes, rows = await self._changes(feed, notice, since)
        if changes is not None:
            await self._deliveries.charge(feed.opened, len(changes.delta) / max(1, rows))
        return changes

    async def _changes(self, feed: OpenFeed, notice: Notice, since: int) -> tuple[Changes | None, int]:
        """Return the changes, and the number of rows of the version that the grant shows."""
        scope = feed.opened.grant.scope
        shown = None if scope.columns is None else frozenset(scope.columns)
        if notice.body.kind != "rows" or not notice.key or (shown is not None and not shown.issuperset(notice.key)):
            return None, 0
        if since >= notice.version:
            return no_changes(notice, since), notice.body.rows or 0
        if scope.rows:
            return await self._compared(feed, notice, since)
        try:
            changes = await self._versions.changes(notice, since)
        except FeedGapError:
            return None, 0
        # From nothing, the version is the better answer: it comes in every format. After a change of the key, a row
        # has two keys.
        if not changes.since or changes.rekeyed is not None:
            return None, 0
        within = await self.account(feed).do(len(changes.delta), partial(changes_within, changes, shown))
        return within, notice.body.rows or 0

    async def _compared(self, feed: OpenFeed, notice: Notice, since: int) -> tuple[Changes | None, int]:
        """Compare both versions as the grant shows them."""
        try:
            before = await self.version(feed, since)
        except FeedNotFoundError:
            return None, 0
        if before.key != notice.key:
            return None, 0
        once = self._deliveries.work.begin_pass(feed.opened.payer)
        old, new = await self._table(feed, before, once), await self._table(feed, notice, once)
        delta = await once.do(len(old) + len(new), partial(delta_of, old, new, notice.key))
        return from_delta(notice, since, delta), len(new)

    def account(self, feed: OpenFeed) -> Account:
        """Return the account that computations for the grant's holders are charged to."""
        return self._deliveries.work.of(feed.opened.payer)

    async def _table(self, feed: OpenFeed, notice: Notice, once: Pass) -> Mapping[Key, Mapping[str, Any]]:
        body = await self.body(feed, notice)
        rows: list[dict[str, Any]] = []
        async with aclosing(self._deliveries.frames.mapped(body, WHOLE, Frame.rows, account=once)) as made:
            async for _, some in made:
                rows.extend(some)
        return await once.do(len(rows), partial(by_key, rows, notice.key))


def shown_notice(notice: Notice, scope_columns: Sequence[str] | None, *, whole: bool) -> dict[str, Any]:
    """Return the fields of a notice that a grant shows. If it shows a part, they have no count, size or digest."""
    fields = notice.to_wire()
    if whole:
        return fields
    for name in ("rows", "size", "digest", "delta", "body_id"):
        del fields[name]
    if scope_columns is not None:
        fields["columns"] = [name for name in fields["columns"] if name in scope_columns]
    return fields


def changes_within(changes: Changes, shown: frozenset[str] | None) -> Changes:
    """Return the changes of the columns `shown` (None: all). A row that changed only in hidden ones did not change."""
    if shown is None:
        return changes
    delta = changes.delta
    key = set(changes.key)
    gone = {value: kept for value, names in delta.gone.items() if (kept := tuple(n for n in names if n in shown))}
    changed = {value: _cut(row, shown) for value, row in delta.changed.items()}
    cut = Delta(
        added={value: _cut(row, shown) for value, row in delta.added.items()},
        changed={value: row for value, row in changed.items() if row.keys() - key or value in gone},
        removed=delta.removed,
        gone=gone,
    )
    return Changes(changes.feed, changes.key, changes.since, changes.version, False, changes.size, cut)


def _cut(row: Mapping[str, Any], shown: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in shown}
