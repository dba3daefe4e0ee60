"""Publishing a version of a feed: compare with the last one, store the bodies, then commit the notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anyio.to_thread
import msgspec

from broker_plane.errors import (
    BodyNotFoundError,
    BrokerAwayError,
    BrokerPlaneError,
    ConflictError,
    FeedNotFoundError,
    SchemaError,
    TabularError,
)
from broker_plane.plane.feeds.ports import FeedLog
from broker_plane.plane.feeds.tables import Tables
from broker_plane.plane.patience import patiently
from broker_plane.plane.ports import BodyStore
from broker_plane.plane.publish import Order, Published, Publisher
from broker_plane.tabular import arrow
from broker_plane.tabular.delta import Delta, Key, apply_delta, by_key, delta_of, delta_rows, key_of
from broker_plane.tabular.plain import plain_rows
from broker_plane.tabular.rows import as_rows
from broker_plane.tabular.schema import check_compatible, schema_of
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.feeds import CHANGE, GONE, Notice, parse_feed

Kind = Literal["snapshot", "delta"]
_TRIES = 16
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What a feed keeps besides its newest version, which it always keeps: whatever is beyond one of these goes."""

    versions: int = 100
    seconds: float = 7 * 86_400
    bytes: int = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """How a version is to be published.

    `kind` says what the rows are: all of them, or those that are new or changed; `removed` are keys that are gone.
    """

    feed: str
    key: tuple[str, ...] = ()
    kind: Kind = "snapshot"
    removed: Sequence[Any] = ()
    new_schema: bool = False
    retention: Retention = Retention()


@dataclass(frozen=True, slots=True)
class Issued:
    """A version, with a grant for its body. `published` is None where the feed had this content already."""

    notice: Notice
    published: Published | None


@dataclass(frozen=True, slots=True)
class _Table:
    """A version that is not stored yet: rows to store, what changed (None: not known), and the schema."""

    rows: list[Mapping[str, Any]]
    delta: Delta | None
    columns: dict[str, tuple[str, ...]]


class Versions:
    """Publishes versions of feeds of one owner."""

    def __init__(
        self, log: FeedLog, store: BodyStore, publisher: Publisher, tables: Tables, *, now: Callable[[], float]
    ) -> None:
        self._log = log
        self._store = store
        self._publisher = publisher
        self._tables = tables
        self._now = now

    async def publish(self, data: Any, order: Order, edition: Edition) -> Issued:
        """Store `data` as the next version of the feed, and announce it; whoever hears of it can pull it.

        What has the same rows as the last version is that version. Where another publisher was faster, this is
        compared with what that one published, and comes after it.

        Raises:
            SchemaError, TabularError, WireError: nothing was published.
            FeedNotFoundError: a delta of a feed that has no version yet.
            StoreFullError, TooLargeError, BrokerAwayError: nothing was announced.
        """
        parse_feed(edition.feed)
        order = replace(order, feed=edition.feed, collect=False)
        given = await _gathered(data)
        for _ in range(_TRIES):
            last = await patiently(lambda: self._log.last(edition.feed), _PATIENCE_SECONDS)
            with suppress(ConflictError):
                return await self._attempt(given, order, edition, last)
        raise ConflictError("Too many publishers at this feed at once; try again", retry_after=1)

    async def _attempt(self, given: Any, order: Order, edition: Edition, last: Notice | None) -> Issued:
        if isinstance(given, (bytes, Path)):
            table = None
            if edition.key or edition.kind == "delta":
                raise TabularError("An opaque body has no key and no delta; publish its versions as they are")
        else:
            table = await self._table(given, edition, last)
            if last is not None and table.delta is not None and not len(table.delta):
                return Issued(last, None)
        published = await self._publisher.publish(given if table is None else table.rows, order)
        kept = [published.body]
        try:
            if last is not None and published.body.digest == last.body.digest:
                await self._remove(kept)
                return Issued(last, None)
            delta = await self._delta(table, order, edition, published.body)
            kept += [delta] if delta else []
            notice = Notice(
                feed=edition.feed,
                version=last.version + 1 if last else 1,
                at=self._now(),
                body=published.body,
                delta=delta,
                key=edition.key,
                columns=table.columns if table else {},
                total=(last.total if last else 0) + sum(body.size for body in kept),
            )
            notice = await self._commit(notice, last.sequence if last else 0)
        except BrokerAwayError:
            raise  # whether the notice stands is not known, so its bodies stay; a sweep frees them where it does not
        except BaseException:
            await asyncio.shield(self._remove(kept))
            raise
        await self._retain(notice, edition.retention)
        return Issued(notice, published)

    async def _table(self, rows: list[Mapping[str, Any]], edition: Edition, last: Notice | None) -> _Table:
        _check_names(rows)
        key = edition.key
        if edition.kind == "delta":
            if not key:
                raise TabularError('A delta needs its feed\'s key: publish(rows, feed=…, key="id", kind="delta")')
            if last is None:
                raise FeedNotFoundError(f"The feed {edition.feed} has no version yet; publish a snapshot first")
        before = await self._before(edition, last)
        return await anyio.to_thread.run_sync(_compared, rows, edition, last, before)

    async def _before(self, edition: Edition, last: Notice | None) -> list[dict[str, Any]] | None:
        """The rows of the last version, where this one is to be compared with them."""
        if last is None or not edition.key or last.body.kind != "rows":
            return None
        if tuple(edition.key) != last.key:
            return None
        return await self._tables.rows(last.body)

    async def _delta(self, table: _Table | None, order: Order, edition: Edition, body: BodyInfo) -> BodyInfo | None:
        """The delta's body; none where the whole is as small."""
        if table is None or table.delta is None:
            return None
        rows = delta_rows(table.delta)
        delta = await self._publisher.keep(rows, replace(order, abstract=(), progress=None, name=""))
        if delta.size < body.size:
            return delta
        await self._remove([delta])
        return None

    async def _commit(self, notice: Notice, after: int) -> Notice:
        """The committed notice. A second attempt finds what the first one did without knowing it."""

        async def attempt() -> int:
            try:
                return await self._log.commit(notice, after)
            except ConflictError:
                last = await self._log.last(notice.feed)
                if last is not None and last.body.id == notice.body.id:
                    return last.sequence
                raise _Faster from None

        try:
            return msgspec.structs.replace(notice, sequence=await patiently(attempt, _PATIENCE_SECONDS))
        except _Faster as error:
            raise ConflictError("Another publisher of this feed was faster") from error

    async def _retain(self, newest: Notice, retention: Retention) -> None:
        """Drop what is beyond `retention`: the notice first, so that none is there without its body.

        What breaks off here is taken up by the next version, or by a sweep.
        """
        with suppress(BrokerPlaneError):
            async with aclosing(self._log.read(newest.feed)) as notices:
                async for notice in notices:
                    if not beyond(notice, newest, retention, self._now()):
                        return
                    await self._log.drop(notice)
                    await self._remove(notice.bodies())

    async def _remove(self, bodies: Sequence[BodyInfo]) -> None:
        for body in bodies:
            with suppress(BodyNotFoundError, BrokerAwayError):
                await self._store.delete(body.owner, body.id)


class _Faster(Exception):
    """Not to be tried again with the same bodies."""


def beyond(oldest: Notice, newest: Notice, retention: Retention, now: float) -> bool:
    """Whether the oldest notice of a feed is to go; the newest one never is."""
    if oldest.version >= newest.version:
        return False
    size = newest.total - oldest.total + oldest.size
    count = newest.version - oldest.version + 1
    return count > retention.versions or size > retention.bytes or now - oldest.at > retention.seconds


def _compared(
    rows: list[Mapping[str, Any]], edition: Edition, last: Notice | None, before: list[dict[str, Any]] | None
) -> _Table:
    """The table of this version and what changed: a pass over all rows, so it runs beside the event loop."""
    delta: Delta | None = None
    if edition.key:
        old: dict[Key, Any] = {} if before is None else by_key(before, edition.key)
        new = by_key(rows, edition.key)
        if edition.kind == "delta":
            if before is None:
                raise SchemaError(f"This feed's key is {', '.join(last.key) if last else ''}, another than the delta's")
            new = _patched(old, rows, edition)
            rows = list(new.values())
        if before is not None:
            delta = delta_of(old, new, edition.key)
    columns = schema_of(rows)
    if last is not None and not edition.new_schema:
        check_compatible(last.columns, columns, edition.key, last.key)
    return _Table(rows, delta, columns)


def _patched(old: Mapping[Key, Any], rows: list[Mapping[str, Any]], edition: Edition) -> dict[Key, Any]:
    """The whole table after a delta: rows of a delta hold the key, and the columns that are new or changed."""
    table = {value: dict(row) for value, row in old.items()}
    change = Delta()
    for value, row in by_key(rows, edition.key).items():
        target = change.changed if value in table else change.added
        target[value] = dict(row)
    for removed in edition.removed:
        row = removed if isinstance(removed, Mapping) else dict(zip(edition.key, _as_key(removed), strict=True))
        (row,) = plain_rows([row])
        change.removed[key_of(row, edition.key, "to be removed")] = dict(row)
    apply_delta(table, change)
    return table


def _as_key(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _check_names(rows: list[Mapping[str, Any]]) -> None:
    for row in rows:
        if CHANGE in row or GONE in row:
            raise TabularError(f"The columns {CHANGE} and {GONE} are a delta's own; rename yours")


async def _gathered(data: Any) -> list[Mapping[str, Any]] | bytes | Path:
    """`data` as something that can be stored twice: another publisher may be faster."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if isinstance(data, Path):
        return data
    if arrow.is_table(data):
        return list(await anyio.to_thread.run_sync(arrow.rows_of, data))
    if isinstance(data, AsyncIterable):
        return list(plain_rows(as_rows([row async for row in data], 0)))
    if isinstance(data, Iterable) and not isinstance(data, (str, dict)):
        return list(plain_rows(as_rows(await anyio.to_thread.run_sync(list, data), 0)))
    raise TabularError(f"A version is rows, bytes or a Path; this is a {type(data).__name__}")
