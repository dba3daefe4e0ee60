"""The rows that a scope leaves visible. A `where` needs one pass over the columns that it names; its result is cached.

A pass runs frame by frame, away from the event loop, and is charged to the grant (fairness/work.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from broker_plane.errors import SelectorError
from broker_plane.plane.bodies.lru import LruCache
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
"""Maximum number of cached ranges, 16 bytes each."""

FramePass = Callable[[BodyInfo, Selector, Callable[[Frame], None], Pass], AsyncGenerator[None, None]]
"""Hands each frame of a body, with all rows, to a function that may take long."""


def pass_shares() -> Shares:
    """Places for passes: few at once, because each reads a body."""
    return Shares(_AT_ONCE, owner=_AT_ONCE // 2, grant=1, waiting=_WAITING)


class VisibleRows:
    """The visible rows of bodies; `made` reads columns of a body."""

    def __init__(self, made: FramePass, work: Work) -> None:
        self._made = made
        self._work = work
        self._remembered: LruCache[RowSet | SelectorError] = LruCache(_weigh, _MOST_RANGES, pass_shares())

    async def of(
        self, body: BodyInfo, scope: Scope, grant_id: str, before: Callable[[], Awaitable[None]]
    ) -> RowSet | None:
        """The visible rows; None for all. `before` runs ahead of a pass, and may refuse it.

        Raises:
            SelectorError: the body has no rows; or a `where` names a column that it does not have, or compares one with
            a literal whose type none of its values has.
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
        if isinstance(found, SelectorError):  # cached as well, so that a retry needs no other pass
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
    """Raise unless the body has the columns of a `where`; that the grant showed them was checked with the scope."""
    for name in sorted(columns_of(parse_where(step.text))):
        if name not in body.columns:
            check_shown(name, [column for column in body.columns if scope.columns is None or column in scope.columns])
