"""The result of a call that requested columns, within what the client shows to its model. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker_plane.proxy.results import CallFacts, replaced, with_url
from broker_plane.reading.clients import Threshold
from broker_plane.reading.held_back import RecognisedTable, summary_by_column, table_words
from broker_plane.reading.result_parts import COLUMNS_TOKENS, Members, columns_of, fields_of, first_of, summary_of
from broker_plane.reading.tokens import TOKEN_BYTES
from broker_plane.reading.tools import next_step
from broker_plane.runtime.offering import Published
from broker_plane.shapes.table import Row
from broker_plane.tabular.abstract import AbstractBuilder
from broker_plane.tabular.frame import frame_of


@dataclass(frozen=True, slots=True)
class RequestedColumns:
    """The columns `shown` of a table. Each method may take seconds: call it in a thread."""

    call: CallFacts
    result: dict[str, Any]
    found: RecognisedTable
    shown: list[str]

    def in_sync(self) -> Members:
        """The result with all rows: the columns as `abstract`, the others as `body`."""
        facts = self._facts()
        rows = {"abstract": _rows_of(self.found, self.shown), "body": _rows_of(self.found, facts["body_domains"])}
        return replaced(self.call, self.result, facts | rows, None)

    def in_async(self, published: Published, threshold: Threshold) -> Members:
        """The result with the abstract and the URL of the table; above the threshold with fewer rows and a summary."""
        if not published.abstract_truncated:
            members = self._leading(len(published.abstract)) | self._facts() | {"abstract": published.abstract}
            whole = self._offered(members, published)
            if not threshold.exceeded_by(whole, self.call.client):
                return whole
        members = self._leading(len(published.abstract)) | self._few_facts()
        summary = published.summary or summary_by_column(self.found.rows, self.shown)
        members |= {"abstract": [], "abstract_truncated": True, **summary_of(summary)}
        envelope = self._offered(members, published)
        rows = threshold.first_beside(published.abstract, envelope, self.call.client)
        return self._offered(members | self._leading(len(rows)) | {"abstract": rows}, published)

    def _facts(self) -> Members:
        return {
            "shape": self.found.table.kind,
            "total_rows": len(self.found.rows),
            "columns": self.found.columns,
            "abstract_domains": self.shown,
            "body_domains": [name for name in self.found.columns if name not in self.shown],
            **fields_of(self.found.table.fields),
        }

    def _few_facts(self) -> Members:
        """The facts; of very many columns the first, and no `body_domains`."""
        facts, columns = self._facts(), columns_of(self.found.columns)
        if "more_columns" not in columns:
            return facts
        del facts["body_domains"]
        names = first_of(self.shown, COLUMNS_TOKENS * TOKEN_BYTES)
        return facts | columns | {"abstract_domains": names}

    def _leading(self, shown: int) -> Members:
        """`next_step`, which says how many rows of the abstract are shown unless all are."""
        words = table_words(self.found)
        if shown < len(self.found.rows):
            words += f"; abstract has the first {shown:,}" if shown else "; abstract has none of them"
        return {"next_step": next_step(words, "table", self.call.readers)}

    def _offered(self, members: Members, published: Published) -> Members:
        return replaced(self.call, self.result, with_url(members, published), published)


def _rows_of(found: RecognisedTable, names: list[str]) -> list[Row]:
    builder = AbstractBuilder(names, None)
    builder.add(frame_of(found.rows, 0))
    return builder.rows
