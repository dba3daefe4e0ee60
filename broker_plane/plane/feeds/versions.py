"""Publishing a version of a feed: compare with the last one, store the bodies, then commit the notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import anyio.to_thread
import msgspec

from broker_plane.errors import (
    BodyNotFoundError,
    BrokerUnavailableError,
    ConflictError,
    FeedNotFoundError,
    SchemaError,
    TabularError,
)
from broker_plane.plane.bodies.publish import Order, Published, Publisher
from broker_plane.plane.feeds.ports import FeedLog, Standing
from broker_plane.plane.feeds.retention import Retained, Retention
from broker_plane.plane.feeds.tables import Tables
from broker_plane.plane.ports import BodyStore
from broker_plane.plane.retry import patiently
from broker_plane.tabular import arrow
from broker_plane.tabular.delta import Delta, Key, apply_delta, by_key, delta_of, delta_rows, key_of
from broker_plane.tabular.plain import plain_rows
from broker_plane.tabular.rows import as_rows
from broker_plane.tabular.schema import check_compatible, check_declared, declared, kept, schema_of
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.feeds import CHANGE, GONE, Notice, parse_feed

Kind = Literal["snapshot", "delta"]
_TRIES = 16
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """How a version is to be published.

    `kind` says what the rows are: all of them, or those that are new or changed; `removed` are keys that are gone.
    """

    feed: str
    key: tuple[str, ...] = ()
    kind: Kind = "snapshot"
    removed: Sequence[Any] = ()
    columns: tuple[str, ...] | None = None
    """All columns of the feed, declared; None: those it had, and those of the rows."""
    new_schema: bool = False
    retention: Retention = field(default_factory=Retention)


@dataclass(frozen=True, slots=True)
class Issued:
    """A version, with a grant for its body. `published` is None where the feed had this content already."""

    notice: Notice
    published: Published | None


@dataclass(frozen=True, slots=True)
class _Given:
    """What is to be published: rows, with the columns that they are said to have, or an opaque body."""

    data: list[Mapping[str, Any]] | bytes | Path
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Table:
    """A version that is not stored yet: rows to store, what changed (None: not known), and the schema."""

    rows: list[Mapping[str, Any]]
    delta: Delta | None
    columns: dict[str, tuple[str, ...]]


class Versions:
    """Publishes versions of feeds of one owner."""

    def __init__(
        self,
        log: FeedLog,
        store: BodyStore,
        publisher: Publisher,
        tables: Tables,
        standings: Callable[[str], Awaitable[Sequence[Standing]]],
        *,
        now: Callable[[], float],
    ) -> None:
        self._log = log
        self._store = store
        self._publisher = publisher
        self._tables = tables
        self._retained = Retained(log, standings, self._remove, now=now)
        self._now = now

    async def publish(self, data: Any, order: Order, edition: Edition) -> Issued:
        """Store `data` as the next version of the feed, and announce it; whoever hears of it can pull it.

        What has the same rows as the last version is that version. Where another publisher was faster, this is
        compared with what that one published, and comes after it.

        Raises:
            SchemaError, TabularError, WireError: nothing was published.
            FeedNotFoundError: a delta of a feed that has no version yet.
            StoreFullError, TooLargeError, BrokerUnavailableError: nothing was announced.
        """
        parse_feed(edition.feed)
        _check(edition)
        order = replace(order, feed=edition.feed, collect=False)
        given = await _gathered(data)
        for _ in range(_TRIES):
            last = await patiently(lambda: self._log.last(edition.feed), _PATIENCE_SECONDS)
            with suppress(ConflictError):
                return await self._attempt(given, order, edition, last)
        raise ConflictError("Too many publishers at this feed at once; try again", retry_after=1)

    async def _attempt(self, given: _Given, order: Order, edition: Edition, last: Notice | None) -> Issued:
        if isinstance(given.data, (bytes, Path)):
            table = None
            if edition.key or edition.kind == "delta":
                raise TabularError("An opaque body has no key and no delta; publish its versions as they are")
            published = await self._publisher.publish(given.data, order)
        else:
            table = await self._table(given.data, given.columns, edition, last)
            if last is not None and _is_last(table, last):
                return Issued(last, None)
            published = await self._publisher.publish(table.rows, replace(order, columns=tuple(table.columns)))
        kept = [published.body]
        try:
            if last is not None and published.body.digest == last.body.digest and edition.key == last.key:
                await self._remove(kept)
                return Issued(last, None)
            delta = await self._delta(table, order)
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
        except BrokerUnavailableError:
            raise  # whether the notice stands is not known, so its bodies stay; a sweep frees them where it does not
        except BaseException:
            await asyncio.shield(self._remove(kept))
            raise
        await self._retained.keep(notice, edition.retention)
        return Issued(notice, published)

    async def _table(
        self, rows: list[Mapping[str, Any]], columns: Sequence[str], edition: Edition, last: Notice | None
    ) -> _Table:
        _check_names(rows)
        key = edition.key
        if edition.kind == "delta":
            if not key:
                raise TabularError('A delta needs its feed\'s key: publish(rows, feed=…, key="id", kind="delta")')
            if last is None:
                raise FeedNotFoundError(f"The feed {edition.feed} has no version yet; publish a snapshot first")
        before = await self._before(edition, last)
        return await anyio.to_thread.run_sync(_compared, rows, columns, edition, last, before)

    async def _before(self, edition: Edition, last: Notice | None) -> list[dict[str, Any]] | None:
        """The rows of the last version, where this one is to be compared with them."""
        if last is None or not edition.key or last.body.kind != "rows":
            return None
        if tuple(edition.key) != last.key:
            return None
        return await self._tables.rows(last.body)

    async def _delta(self, table: _Table | None, order: Order) -> BodyInfo | None:
        """The delta's body. It is kept even if the version is smaller: retention may take the version before."""
        if table is None or table.delta is None:
            return None
        rows = delta_rows(table.delta)
        return await self._publisher.keep(rows, replace(order, abstract=(), progress=None, name=""))

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

    async def _remove(self, bodies: Sequence[BodyInfo]) -> None:
        for body in bodies:
            with suppress(BodyNotFoundError, BrokerUnavailableError):
                await self._store.delete(body.owner, body.id)


class _Faster(Exception):
    """Not to be tried again with the same bodies."""


def _check(edition: Edition) -> None:
    """Raise unless the edition says what it is."""
    if edition.kind not in get_args(Kind):
        raise TabularError(f"kind is 'snapshot' (all rows) or 'delta' (new and changed rows), not {edition.kind!r}")
    if isinstance(edition.removed, (str, bytes)) or not isinstance(edition.removed, (Sequence, Set)):
        raise TabularError("removed is a list of keys: removed=[12], or removed=[(1, 2)] where the key has two columns")
    if edition.removed and edition.kind != "delta":
        raise TabularError('removed belongs to kind="delta"; a snapshot removes the rows that are not in it')


def _is_last(table: _Table, last: Notice) -> bool:
    """Whether the feed has this version already: the same rows, by the same key, in the same columns."""
    return table.delta is not None and not len(table.delta) and table.columns.keys() == last.columns.keys()


def _compared(
    rows: list[Mapping[str, Any]],
    columns: Sequence[str],
    edition: Edition,
    last: Notice | None,
    before: list[dict[str, Any]] | None,
) -> _Table:
    """The table of this version and what changed: a pass over all rows, so it runs beside the event loop."""
    delta: Delta | None = None
    if edition.key:
        old: dict[Key, Any] = {} if before is None else by_key(before, edition.key)
        new = by_key(rows, edition.key)
        _check_keys(new, edition.key)
        if edition.kind == "delta":
            if before is None:
                raise SchemaError(f"This feed's key is {', '.join(last.key) if last else ''}, another than the delta's")
            new = _patched(old, rows, edition)
            rows = list(new.values())
        if before is not None:
            delta = delta_of(old, new, edition.key)
    return _Table(rows, delta, _schema(rows, columns, edition, last))


def _schema(
    rows: list[Mapping[str, Any]], columns: Sequence[str], edition: Edition, last: Notice | None
) -> dict[str, tuple[str, ...]]:
    """The feed's columns with this version. A table without rows has those that it says; rows have their own."""
    seen = schema_of(rows)
    before = {} if last is None or edition.new_schema else last.columns
    if edition.columns is not None:
        check_declared(edition.columns, seen, before)
    if last is not None and not edition.new_schema:
        # A delta takes no column away: its rows lack what did not change.
        names = {**dict.fromkeys(before, ()), **seen} if edition.kind == "delta" else seen
        check_compatible(before, names, edition.key, last.key)
    return kept(before, declared(seen, (*(edition.columns or ()), *columns)), rows=bool(rows))


def _patched(old: Mapping[Key, Any], rows: list[Mapping[str, Any]], edition: Edition) -> dict[Key, Any]:
    """The whole table after a delta: rows of a delta hold the key, and the columns that are new or changed."""
    table = {value: dict(row) for value, row in old.items()}
    change = Delta()
    for value, row in by_key(rows, edition.key).items():
        target = change.changed if value in table else change.added
        target[value] = dict(row)
    for removed in edition.removed:
        (row,) = plain_rows([_removed_row(removed, edition.key)])
        value = key_of(row, edition.key, "to be removed")
        if value in change.added or value in change.changed:
            raise TabularError(f"The key {removed!r} is among the rows and in removed; it is one or the other")
        change.removed[value] = dict(row)
    apply_delta(table, change)
    return table


def _removed_row(removed: Any, key: tuple[str, ...]) -> Mapping[str, Any]:
    """A key that is gone, by its columns: given as a row, as a value, or as a tuple of values."""
    if isinstance(removed, Mapping):
        return removed
    values = tuple(removed) if isinstance(removed, (tuple, list)) else (removed,)
    if len(values) != len(key):
        raise TabularError(f"removed has {removed!r}, and the key of this feed is {', '.join(key)}; name each of these")
    return dict(zip(key, values, strict=True))


def _check_keys(keys: Iterable[Key], key: tuple[str, ...]) -> None:
    for value in keys:
        for name, each in zip(key, value, strict=True):
            if each != each:
                raise TabularError(f"A row has NaN or NaT as its {name!r}, which no other row equals; it can be no key")


def _check_names(rows: list[Mapping[str, Any]]) -> None:
    for row in rows:
        if CHANGE in row or GONE in row:
            raise TabularError(f"The columns {CHANGE} and {GONE} are a delta's own; rename yours")


async def _gathered(data: Any) -> _Given:
    """`data` as something that can be stored twice: another publisher may be faster."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return _Given(bytes(data))
    if isinstance(data, Path):
        return _Given(data)
    if arrow.is_table(data):
        table = arrow.as_table(data)
        return _Given(list(await anyio.to_thread.run_sync(arrow.rows_of, data)), tuple(table.column_names))
    if isinstance(data, AsyncIterable):
        return _Given(list(plain_rows(as_rows([row async for row in data], 0))))
    if isinstance(data, Iterable) and not isinstance(data, (str, dict)):
        return _Given(list(plain_rows(as_rows(await anyio.to_thread.run_sync(list, data), 0))))
    raise TabularError(f"A version is rows, bytes or a Path; this is a {type(data).__name__}")
