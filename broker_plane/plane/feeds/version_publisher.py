"""Publishes versions of feeds: compare with the last version, store the bodies, then commit the notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec

from broker_plane.errors import BodyNotFoundError, BrokerUnavailableError, ConflictError, TabularError
from broker_plane.plane.bodies.publish import Publisher, PublishOrder, StoredBody
from broker_plane.plane.feeds.ports import DurablePosition, FeedLog
from broker_plane.plane.feeds.retention import RetentionEnforcer
from broker_plane.plane.feeds.tables import Tables
from broker_plane.plane.feeds.version import Version, VersionTable, version_table
from broker_plane.plane.ports import BodyStore
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.tabular import arrow
from broker_plane.tabular.delta import delta_rows
from broker_plane.tabular.foreign import is_array
from broker_plane.tabular.plain import plain_rows
from broker_plane.tabular.rows import as_rows
from broker_plane.tabular.sources import is_cursor, source_of
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.feeds import Notice, parse_feed

_MAX_CONFLICTS = 16
_RETRY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version, with a grant for its body. `published` is None if the feed already had this content."""

    notice: Notice
    published: StoredBody | None


@dataclass(frozen=True, slots=True)
class _Data:
    """What is to be published: rows, with the columns that they declare, or an opaque body."""

    data: list[Mapping[str, Any]] | bytes | Path
    columns: tuple[str, ...] = ()


class VersionPublisher:
    """Publishes versions of the feeds of one owner."""

    def __init__(
        self,
        log: FeedLog,
        store: BodyStore,
        publisher: Publisher,
        tables: Tables,
        positions: Callable[[str], Awaitable[Sequence[DurablePosition]]],
        *,
        now: Callable[[], float],
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        """While the broker is unavailable, a commit is retried for `retry_seconds`."""
        self._log = log
        self._store = store
        self._publisher = publisher
        self._tables = tables
        self._retention = RetentionEnforcer(log, positions, self._remove, now=now)
        self._now = now
        self._retry_seconds = retry_seconds

    async def publish(self, data: Any, order: PublishOrder, version: Version) -> PublishedVersion:
        """Store `data` as the next version of the feed, and announce it once it can be pulled.

        Publishing unchanged rows is idempotent: the latest version is returned. If another publisher commits first,
        the data is compared with that version and published after it.

        Raises:
            SchemaError, TabularError, WireError: nothing was published.
            FeedNotFoundError: a delta of a feed without a version.
            StoreFullError, TooLargeError, BrokerUnavailableError: nothing was announced.
        """
        parse_feed(version.feed)
        version.check()
        order = replace(order, feed=version.feed, collect=False)
        gathered = await _gathered(data)
        for _ in range(_MAX_CONFLICTS):
            last = await retry_while_retryable(lambda: self._log.last(version.feed), self._retry_seconds)
            with suppress(ConflictError):
                return await self._attempt(gathered, order, version, last)
        raise ConflictError("Too many publishers of this feed at the same time; try again", retry_after=1)

    async def _attempt(
        self, data: _Data, order: PublishOrder, version: Version, last: Notice | None
    ) -> PublishedVersion:
        table = await self._table(data, version, last)
        if last is not None and table is not None and table.equals(last):
            return PublishedVersion(last, None)
        published = await self._store_body(data, table, order)
        bodies = [published.body]
        async with self._removed_on_error(bodies):
            if last is not None and published.body.digest == last.body.digest and version.key == last.key:
                await self._remove(bodies)
                return PublishedVersion(last, None)
            delta = await self._store_delta(table, order)
            bodies += [delta] if delta else []
            notice = await self._commit(self._notice(bodies, table, version, last), last.sequence if last else 0)
        await self._retention.enforce(notice, version.retention)
        return PublishedVersion(notice, published)

    async def _table(self, data: _Data, version: Version, last: Notice | None) -> VersionTable | None:
        """Return the rows to be stored, compared with the last version; None for an opaque body."""
        if isinstance(data.data, (bytes, Path)):
            version.check_opaque()
            return None
        version.check_rows(data.data, last)
        before = await self._tables.rows(last.body) if last is not None and version.compares_with(last) else None
        return await anyio.to_thread.run_sync(version_table, data.data, data.columns, version, last, before)

    async def _store_body(self, data: _Data, table: VersionTable | None, order: PublishOrder) -> StoredBody:
        if table is None:
            return await self._publisher.publish(data.data, order)
        return await self._publisher.publish(table.rows, replace(order, columns=tuple(table.columns)))

    async def _store_delta(self, table: VersionTable | None, order: PublishOrder) -> BodyInfo | None:
        """Store the delta, even if the version is smaller: the version before may be deleted by retention."""
        if table is None or table.delta is None:
            return None
        rows = delta_rows(table.delta)
        return await self._publisher.keep(rows, replace(order, abstract=(), progress=None, name=""))

    def _notice(
        self, bodies: Sequence[BodyInfo], table: VersionTable | None, version: Version, last: Notice | None
    ) -> Notice:
        body, *deltas = bodies
        return Notice(
            feed=version.feed,
            version=last.version + 1 if last else 1,
            at=self._now(),
            body=body,
            delta=deltas[0] if deltas else None,
            key=version.key,
            columns=table.columns if table else {},
            total=(last.total if last else 0) + sum(each.size for each in bodies),
        )

    async def _commit(self, notice: Notice, after: int) -> Notice:
        """Commit the notice. A repeated attempt recognizes a commit whose answer was lost."""

        async def attempt() -> int:
            try:
                return await self._log.commit(notice, after)
            except ConflictError:
                last = await self._log.last(notice.feed)
                if last is not None and last.body.id == notice.body.id:
                    return last.sequence
                raise _OvertakenError from None

        try:
            return msgspec.structs.replace(notice, sequence=await retry_while_retryable(attempt, self._retry_seconds))
        except _OvertakenError as error:
            raise ConflictError("Another publisher of this feed committed first") from error

    @asynccontextmanager
    async def _removed_on_error(self, bodies: list[BodyInfo]) -> AsyncIterator[None]:
        """Delete `bodies` if the block fails."""
        try:
            yield
        except BrokerUnavailableError:
            raise  # the notice may have been committed, so its bodies stay; else a sweep deletes them
        except BaseException:
            await asyncio.shield(self._remove(bodies))
            raise

    async def _remove(self, bodies: Sequence[BodyInfo]) -> None:
        for body in bodies:
            with suppress(BodyNotFoundError, BrokerUnavailableError):
                await self._store.delete(body.owner, body.id)


class _OvertakenError(Exception):
    """Retrying with the same bodies is of no use."""


async def _gathered(data: Any) -> _Data:
    """Return `data` in a form that can be stored repeatedly, in case another publisher commits first."""
    data = source_of(data) if is_cursor(data) or is_array(data) else data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return _Data(bytes(data))
    if isinstance(data, Path):
        return _Data(data)
    if arrow.is_table(data):
        table = await anyio.to_thread.run_sync(arrow.as_table, data)  # a stream can be read once, and may block
        return _Data(list(await anyio.to_thread.run_sync(arrow.rows_of, table)), tuple(table.column_names))
    if isinstance(data, AsyncIterable):
        return _Data(list(plain_rows(as_rows([row async for row in data], 0))))
    if isinstance(data, Iterable) and not isinstance(data, (str, dict)):
        return _Data(list(plain_rows(as_rows(await anyio.to_thread.run_sync(list, data), 0))))
    raise TabularError(f"A version is rows, bytes or a Path, not {type(data).__name__}")
