"""The answers that show a body as a Parquet, Arrow or XLSX file, which is generated while or before it is sent.

Memory is bounded by a frame and a row group; a workbook goes to temporary files, of which few exist at a time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from broker_plane.bridge.answers import Answer
from broker_plane.bridge.representation import Representation
from broker_plane.formats.arrow_tables import SchemaFinder
from broker_plane.formats.arrow_writers import ArrowWriter, arrow_writer
from broker_plane.formats.kinds import Format
from broker_plane.formats.workbook_writer import WorkbookWriter
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.shown import shown_of
from broker_plane.plane.fairness.shares import Shares
from broker_plane.plane.fairness.work import SMALL, Account
from broker_plane.tabular.views import shown_columns
from broker_plane.web.coding import coded
from broker_plane.web.sending import Headers

MOST_SHEET_BYTES = 64 << 20
"""Largest sheet of a workbook, before compression: about 1.5 million cells. Temporary files take twice that."""

_WORKBOOKS, _WAITING = 4, 32
_PIECE_BYTES = 1 << 18
_LONG = SMALL + 1
"""The cost of work that must not run on the event loop."""

_CELL_COST = 50
"""A cell of a workbook takes as long as that many values of other formats."""


@dataclass(slots=True)
class _Made:
    """What is known of an answer while it is generated."""

    total: int
    done: int = 0
    headers: Headers = field(default_factory=list)

    def share(self) -> float:
        return self.done / max(1, self.total)


class TableAnswers:
    """Makes answers in the formats that `represent` offers besides the views."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._workbooks = Shares(_WORKBOOKS, owner=_WORKBOOKS // 2, grant=1, waiting=_WAITING)

    def answer(self, shown: Representation, form: Format) -> Answer:
        """The answer with this representation, in this format."""
        rows = shown_of(shown.info, shown.selector)
        made = _Made(rows.rows or 0)
        pieces = self._workbook(shown, made) if form is Format.xlsx else self._table(shown, form, made)
        account = self._deliveries.work.of(shown.body.payer)
        return Answer(
            status=200,
            headers=shown.all_headers(),
            pieces=coded(pieces, shown.coding, account),
            size=None,
            shown=rows,
            progress=made.share,
            late_headers=lambda: made.headers,
        )

    async def _table(self, shown: Representation, form: Format, made: _Made) -> AsyncGenerator[bytes, None]:
        frames, account = self._deliveries.frames, self._deliveries.work.of(shown.body.payer)
        columns = shown_columns(shown.info, shown.selector)
        finder = SchemaFinder()
        async with aclosing(frames.held(shown.body, shown.selector, finder.see)) as seen:
            async for rows, _ in seen:
                if rows and finder.complete(columns):
                    break
        writer, as_text = await account.do(_LONG, partial(_begun, form, finder, columns))
        if as_text:
            made.headers.append(("bp-text-columns", str(as_text)))
        async with aclosing(frames.held(shown.body, shown.selector, writer.write)) as written:
            async for rows, piece in written:
                made.done += rows
                if piece:
                    yield piece
        yield await account.do(_LONG, writer.end)

    async def _workbook(self, shown: Representation, made: _Made) -> AsyncGenerator[bytes, None]:
        columns, payer = shown_columns(shown.info, shown.selector), shown.body.payer
        begin = partial(WorkbookWriter, columns, created=shown.modified, most_bytes=MOST_SHEET_BYTES)
        async with self._workbooks.place(payer):
            # Nothing is sent before a workbook is complete, so a reader that leaves has paid for no part of a use.
            account = self._deliveries.work.begin_pass(payer)
            writer = await account.do(_LONG, begin)
            try:
                await self._write_frames(shown, writer, account)
                file = await account.do(_LONG, writer.end)
                if writer.lost:
                    made.headers.append(("bp-lost", str(writer.lost)))
                made.total = file.seek(0, 2)
                file.seek(0)
                while piece := await account.do(_PIECE_BYTES // 64, partial(file.read, _PIECE_BYTES)):
                    made.done += len(piece)
                    yield piece
            finally:
                writer.close()

    async def _write_frames(self, shown: Representation, writer: WorkbookWriter, account: Account) -> None:
        async with aclosing(self._deliveries.frames.decoded(shown.body, shown.selector)) as frames:
            async for frame in frames:
                for block in writer.blocks(frame):
                    cost = len(block) * len(block.columns) * _CELL_COST
                    await account.do(cost, partial(writer.write, block))


def _begun(form: Format, finder: SchemaFinder, columns: Sequence[str]) -> tuple[ArrowWriter, int]:
    """The writer of a file, and the number of columns that it writes as text."""
    schema = finder.schema(columns)
    return arrow_writer(form, schema), len(schema.as_text)
