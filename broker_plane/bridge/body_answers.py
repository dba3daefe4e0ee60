"""The answers that show a body: its stored bytes, a range of them, or a view generated from its rows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from broker_plane.bridge.answers import Answer
from broker_plane.bridge.representation import S2SP, SAFE_CSV, SAFE_TSV, Representation
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.shown import shown_of
from broker_plane.plane.fairness.work import Account
from broker_plane.plane.first_use import FirstUse
from broker_plane.tabular.codec import FrameWriter
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.views import VIEWS, S2spRows, SafeCsvRows, SafeTsvRows, View
from broker_plane.web.coding import coded
from broker_plane.web.ranges import Part
from broker_plane.web.sending import Headers
from broker_plane.wire.body import ROWS_TYPE, BodyInfo
from broker_plane.wire.selector import Selector

if TYPE_CHECKING:
    from broker_plane.bridge.table_answers import TableAnswers

_OWN_VIEWS: dict[str, Callable[[BodyInfo, Selector], View]] = {
    S2SP: S2spRows,
    SAFE_CSV: SafeCsvRows,
    SAFE_TSV: SafeTsvRows,
}
_AT_ONCE = 4
"""Pieces of a view that are generated in one call to a thread."""


@dataclass(slots=True)
class _Progress:
    """How many of `total` rows of a view were generated, including the frame that is being sent."""

    total: int
    rows: int = 0

    def share(self) -> float:
        return self.rows / max(1, self.total)


class BodyAnswers:
    """Makes answers for representations of bodies."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._tables = FirstUse(self._make_tables)

    def whole(self, shown: Representation) -> Answer:
        """All stored bytes."""
        return Answer(
            status=200,
            headers=shown.all_headers(),
            pieces=self._deliveries.bodies.read(shown.body),
            size=shown.info.size,
            shown=shown_of(shown.info, shown.selector),
        )

    def part(self, shown: Representation, part: Part) -> Answer:
        """A range of the stored bytes."""
        size = shown.info.size
        return Answer(
            status=206,
            headers=[*shown.all_headers(), ("content-range", part.content_range(size))],
            pieces=self._deliveries.bodies.read(shown.body, part.start, part.stop),
            size=part.stop - part.start,
            share=(part.stop - part.start) / size,
            ends_body=part.stop == size,
        )

    def _make_tables(self) -> TableAnswers:
        from broker_plane.bridge.table_answers import TableAnswers

        return TableAnswers(self._deliveries)

    async def view(self, shown: Representation) -> Answer:
        """A view that is generated from the rows while it is sent."""
        if shown.form is not None:
            return (await self._tables.get()).answer(shown, shown.form)
        rows = shown_of(shown.info, shown.selector)
        made = _Progress(rows.rows or 0)
        if shown.view == ROWS_TYPE:
            return Answer(
                status=200,
                headers=shown.all_headers(),
                pieces=coded(self._cut(shown, made), shown.coding, self._account(shown)),
                size=None,
                shown=rows,
                progress=made.share,
            )
        view = (_OWN_VIEWS.get(shown.view) or VIEWS[shown.view])(shown.info, shown.selector)
        return Answer(
            status=200,
            headers=shown.all_headers(),
            pieces=coded(self._viewed(shown, view, made), shown.coding, self._account(shown)),
            size=None,
            shown=rows,
            progress=made.share,
            late_headers=lambda: _lost(view),
        )

    async def _viewed(self, shown: Representation, view: View, made: _Progress) -> AsyncGenerator[bytes, None]:
        yield view.begin()
        account = self._account(shown)
        async with aclosing(self._deliveries.frames.decoded(shown.body, shown.selector)) as frames:
            async for frame in frames:
                made.rows += len(frame)
                async with aclosing(_pieces(account, view, frame)) as pieces:
                    async for piece in pieces:
                        yield piece
        yield view.end()

    def _account(self, shown: Representation) -> Account:
        return self._deliveries.work.of(shown.body.payer)

    async def _cut(self, shown: Representation, made: _Progress) -> AsyncGenerator[bytes, None]:
        writer = FrameWriter()
        yield writer.begin()
        async with aclosing(self._deliveries.frames.cut(shown.body, shown.selector, writer=writer)) as frames:
            async for frame in frames:
                made.rows += frame.rows
                yield frame.raw
        yield writer.end()


async def _pieces(account: Account, view: View, frame: Frame) -> AsyncGenerator[bytes, None]:
    """The pieces of a frame's view: a small frame's at once, a larger one's a few at a time in a thread."""
    pieces = iter(view.pieces(frame))
    cost = len(frame) * len(frame.columns) + frame.size // 16
    while some := await account.do(cost, lambda: list(islice(pieces, _AT_ONCE))):
        for piece in some:
            yield piece


def _lost(view: View) -> Headers:
    """The number of NaNs and infinities that a JSON view shows as null (docs/reference/wire-protocol.md#json)."""
    return [("bp-lost", str(view.lost))] if view.lost else []
