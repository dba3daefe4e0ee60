"""Which rows a scope leaves. A `where` is found out by one pass over the columns that it names, and remembered.

A pass runs by units of a frame, away from the event loop, and is charged to the grant (work.py).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, nullcontext
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from broker_plane.errors import SelectorError
from broker_plane.plane.fairness.shares import Payer, Shares
from broker_plane.plane.fairness.work import Pass, Work
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.where import RowFilter, rows_left
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.caveats import Where
from broker_plane.wire.rows import RowSet, RowSetBuilder, all_rows
from broker_plane.wire.scope import Scope, check_shown
from broker_plane.wire.selector import Selector
from broker_plane.wire.where import columns_of, parse_where

_AT_ONCE = 4
_WAITING = 32
_MOST_RANGES = 1_000_000
"""Remembered in all, 16 bytes each."""

V = TypeVar("V")
Key = tuple[object, ...]
Made = Callable[[BodyInfo, Selector, Callable[[Frame], None], Pass], AsyncGenerator[None, None]]
"""Hands each frame of a body, all rows, to a function that may take long."""


class Remembered(Generic[V]):
    """What passes over bodies found, least recently used out first. Who asks for the same waits for one pass."""

    def __init__(self, weigh: Callable[[V], int], most: int, shares: Shares | None = None) -> None:
        """Passes take places of `shares`, where they are many and long."""
        self._weigh = weigh
        self._most = most
        self._found: OrderedDict[Key, V] = OrderedDict()
        self._weight = 0
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._shares = shares

    async def get(self, key: Key, make: Callable[[], Awaitable[V]], payer: Payer) -> V:
        """What is remembered, or else what `make` finds.

        Raises:
            RateLimitedError: very many passes of this grant wait already.
        """
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
            async with self._shares.place(payer) if self._shares else nullcontext():
                made = await make()
            self._keep(key, made)
            return made

    def _keep(self, key: Key, made: V) -> None:
        self._found[key] = made
        self._weight += self._weigh(made)
        while self._weight > self._most and len(self._found) > 1:
            _, dropped = self._found.popitem(last=False)
            self._weight -= self._weigh(dropped)


def pass_shares() -> Shares:
    """Places for passes: few at once, because each reads a body."""
    return Shares(_AT_ONCE, owner=_AT_ONCE // 2, grant=1, waiting=_WAITING)


class VisibleRows:
    """The rows of a body within a scope; `made` reads columns of a body."""

    def __init__(self, made: Made, work: Work) -> None:
        self._made = made
        self._work = work
        self._remembered: Remembered[RowSet | SelectorError] = Remembered(_weigh, _MOST_RANGES, pass_shares())

    async def of(
        self, body: BodyInfo, scope: Scope, grant_id: str, before: Callable[[], Awaitable[None]]
    ) -> RowSet | None:
        """The rows; None is all. `before` runs ahead of a pass, and may refuse it.

        Raises:
            SelectorError: the body has no rows, or a `where` names a column that it has not, or compares one with a
                literal of a type that none of its values has.
            RateLimitedError, TooCostlyError: a pass is needed, and would take more than the grant may have computed.
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

        payer = Payer(body.owner, grant_id)

        async def passed() -> RowSet | SelectorError:
            once = self._work.begin_pass(payer)
            await before()
            return await self._pass(body, scope, once)

        found = await self._remembered.get((grant_id, body.id, scope.rows), passed, payer)
        if isinstance(found, SelectorError):  # remembered as well, so that asking again needs no other pass
            raise SelectorError(str(found))
        return found

    async def _pass(self, body: BodyInfo, scope: Scope, once: Pass) -> RowSet | SelectorError:
        rows = RowFilter(scope.rows)
        kept = RowSetBuilder()
        selector = Selector(columns=tuple(rows.columns))
        async with aclosing(self._made(body, selector, lambda frame: kept.add(rows.keep(frame)), once)) as frames:
            async for _ in frames:
                if rows.done:
                    break
        try:
            rows.check()
        except SelectorError as error:
            return error
        return await once.do(body.rows or 0, kept.rows)


def _weigh(found: RowSet | SelectorError) -> int:
    return 1 if isinstance(found, SelectorError) else 1 + len(found.starts)


def _check(body: BodyInfo, scope: Scope, step: Where) -> None:
    """The body has what a `where` names; that the grant showed it there, the scope saw when it was folded."""
    for name in sorted(columns_of(parse_where(step.text))):
        if name not in body.columns:
            check_shown(name, [column for column in body.columns if scope.columns is None or column in scope.columns])
