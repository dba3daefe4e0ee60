"""A body as one grant shows it. Columns and rows outside the grant's scope are hidden, and so is the digest of the
whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from broker_plane.errors import SelectorError
from broker_plane.plane.fairness.shares import Payer
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.grant import Grant
from broker_plane.wire.rows import RowSet
from broker_plane.wire.scope import Scope, check_shown
from broker_plane.wire.selector import Selector


@dataclass(frozen=True, slots=True)
class ScopedBody:
    """`info` may be sent; `stored` stays here. `visible` has the visible rows, None for all of them."""

    info: BodyInfo
    stored: BodyInfo
    scope: Scope
    visible: RowSet | None = None
    grant_id: str = ""

    @property
    def whole(self) -> bool:
        """Whether all stored bytes are within the scope, so that they may be sent as they are."""
        return self.scope.shows_all

    @property
    def payer(self) -> Payer:
        """The account that its reads are done on."""
        return Payer(self.stored.owner, self.grant_id)

    @property
    def tag(self) -> str:
        """Equal for equal bytes. It is no digest of hidden content, which would confirm a guess of it."""
        return self.info.digest or sha256(repr((self.stored.id, self.scope)).encode()).hexdigest()

    def of(self, selector: Selector) -> Selector:
        """`selector` with resolved column names, or WHOLE if it requests everything and the grant shows everything."""
        selector = selector.among(self.info.columns)
        return selector.of(self.stored.rows) if self.whole else selector

    def check(self, selector: Selector) -> None:
        """Raise SelectorError unless everything that `selector` names is visible; hidden and unknown give the same
        error.
        """
        if selector.whole:
            return
        if self.info.kind != "rows":
            raise SelectorError("This body is opaque: it has neither columns nor rows to select")
        rows = range(self.info.rows or 0) if self.visible is None else self.visible
        selector.check(self.info.columns, rows)

    def choice(self, selector: Selector) -> Selector | ScopedChoice:
        """The columns and rows of a frame that `selector` takes."""
        return selector if self.whole else ScopedChoice(selector, frozenset(self.info.columns), self.visible)


@dataclass(frozen=True, slots=True)
class ScopedChoice:
    """A selector within a scope."""

    selector: Selector
    columns: frozenset[str]
    visible: RowSet | None

    @property
    def every_row(self) -> bool:
        return self.visible is None and self.selector.every_row

    def has_column(self, name: str) -> bool:
        return name in self.columns and self.selector.has_column(name)

    def places(self, ids: Sequence[int]) -> list[int] | None:
        places = None if self.visible is None else self.visible.places(ids)
        if places is None or len(places) == len(ids):
            return self.selector.places(ids)
        if self.selector.row_ids is None:
            return places
        if not places:
            return []
        asked = frozenset(self.selector.within(ids[places[0]], ids[places[-1]] + 1))
        return [place for place in places if ids[place] in asked]


def scoped(body: BodyInfo, grant: Grant, visible: RowSet | None) -> ScopedBody:
    """`body` as `grant` shows it, with the visible rows.

    Raises:
        SelectorError: the scope names a column that the body does not have, or limits rows or columns of an opaque
        body.
    """
    scope = grant.scope
    if scope.shows_all:
        return ScopedBody(body, body, scope, grant_id=grant.id)
    shown = body.columns if scope.columns is None else tuple(name for name in body.columns if name in scope.columns)
    for name in scope.columns or ():
        check_shown(name, shown)
    hidden = {"size": 0, "digest": "", "table": None, "chunks": 0, "chunk_bytes": 1, "runs": ()}
    rows = body.rows if visible is None else len(visible)
    info = msgspec.structs.replace(body, columns=shown, rows=rows, expires=min(body.expires, grant.expires), **hidden)
    return ScopedBody(info, body, scope, visible, grant.id)
