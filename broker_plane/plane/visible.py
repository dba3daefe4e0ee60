"""Which rows a scope leaves. A `where` is found out by one pass over the columns that it names, and remembered."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from broker_plane.errors import SelectorError
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.where import RowFilter, rows_left
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.caveats import Where
from broker_plane.wire.rows import RowSet, all_rows, of_ids
from broker_plane.wire.scope import Scope, check_shown
from broker_plane.wire.selector import Selector
from broker_plane.wire.where import columns_of, parse_where

_AT_ONCE = 4
_MOST_RANGES = 1_000_000
"""Remembered in all, 16 bytes each."""

V = TypeVar("V")
Key = tuple[object, ...]
Frames = Callable[[BodyInfo, Selector], AsyncGenerator[Frame, None]]


class Remembered(Generic[V]):
    """What passes over bodies found, least recently used out first. Who asks for the same waits for one pass."""

    def __init__(self, weigh: Callable[[V], int], most: int) -> None:
        self._weigh = weigh
        self._most = most
        self._found: OrderedDict[Key, V] = OrderedDict()
        self._weight = 0
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def get(self, key: Key, make: Callable[[], Awaitable[V]]) -> V:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
            async with self._room:
                made = await make()
            self._keep(key, made)
            return made

    def _keep(self, key: Key, made: V) -> None:
        self._found[key] = made
        self._weight += self._weigh(made)
        while self._weight > self._most and len(self._found) > 1:
            _, dropped = self._found.popitem(last=False)
            self._weight -= self._weigh(dropped)


class VisibleRows:
    """The rows of a body within a scope; `frames` reads columns of a body, all rows."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._remembered: Remembered[RowSet] = Remembered(lambda rows: 1 + len(rows.starts), _MOST_RANGES)

    async def of(
        self, body: BodyInfo, scope: Scope, grant_id: str, before: Callable[[], Awaitable[None]]
    ) -> RowSet | None:
        """The rows; None is all. `before` runs ahead of a pass, and may refuse it.

        Raises:
            SelectorError: the body has no rows, or a `where` names a column that it has not.
        """
        if scope.shows_all:
            return None
        if body.kind != "rows":
            raise SelectorError("This body is opaque: it has neither columns nor rows to narrow a grant to")
        if not scope.rows:
            return None
        for step in scope.rows:
            if isinstance(step, Where):
                _check(body, scope, step)
        left = rows_left(scope.rows, all_rows(body.rows or 0))
        if left is not None:
            return left

        async def passed() -> RowSet:
            await before()
            return await self._pass(body, scope)

        return await self._remembered.get((grant_id, body.id, scope.rows), passed)

    async def _pass(self, body: BodyInfo, scope: Scope) -> RowSet:
        rows = RowFilter(scope.rows)
        kept: list[int] = []
        async with aclosing(self._frames(body, Selector(columns=tuple(rows.columns)))) as frames:
            async for frame in frames:
                kept.extend(rows.keep(frame))
                if rows.done:
                    break
        return of_ids(kept)


def _check(body: BodyInfo, scope: Scope, step: Where) -> None:
    """The body has what a `where` names; that the grant showed it there, the scope saw when it was folded."""
    for name in sorted(columns_of(parse_where(step.text))):
        if name not in body.columns:
            check_shown(name, [column for column in body.columns if scope.columns is None or column in scope.columns])
