"""A large result as what it is, and the few members of it that a model sees. Pure.

The proxy and the adapters of agents hold results back by the same rules: those of this module.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.reading.result_parts import Members, columns_of, fields_of, preview_of, summary_of
from broker_plane.reading.tools import next_step
from broker_plane.shapes.recognise import recognise
from broker_plane.shapes.table import Opaque, Row, Table, free
from broker_plane.tabular.abstract import AbstractBuilder
from broker_plane.tabular.frame import frame_of
from broker_plane.wire.names import ROW_ID

_TEXT_KINDS = ("csv", "tsv", "ndjson", "markdown", "fence", "html", "wrapped")
_JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class RecognisedTable:
    """A table without a column `_row_id` of its own, which is called `row_id` here, and a summary of its columns."""

    table: Table
    rows: list[Row]
    columns: list[str]
    summary: dict[str, dict[str, Any]]
    """Empty unless it was requested."""


def recognised(result: Mapping[str, Any], shape: str = "auto", *, summarize: bool = True) -> RecognisedTable | Opaque:
    """What a `CallToolResult` in its wire form is. It may take seconds: call it in a thread.

    Raises:
        TabularError: it is not of this shape.
    """
    found = recognise(result, shape=shape)
    return found if isinstance(found, Opaque) else recognised_table(found, summarize=summarize)


def recognised_table(table: Table, *, summarize: bool = True) -> RecognisedTable:
    """`table` with its summary."""
    rows, columns = table.rows, list(table.columns)
    if ROW_ID in columns:
        renamed = {ROW_ID: free(ROW_ID.lstrip("_"), columns)}
        columns = [renamed.get(name, name) for name in columns]
        rows = [{renamed.get(name, name): value for name, value in row.items()} for row in rows]
    return RecognisedTable(table, rows, columns, summary_by_column(rows, columns) if summarize else {})


def summary_by_column(rows: list[Row], columns: list[str]) -> dict[str, dict[str, Any]]:
    """The summary of these columns over all rows."""
    builder = AbstractBuilder(columns, 0)
    builder.add(frame_of(rows, 0))
    return builder.summary()


def kept_text(table: Table) -> Opaque | None:
    """The text that a pull returns, so that a copy of a file is that file; None for rows.

    Literals of Python are held as rows, and so is a text of JSON unless it is wrapped, as files are.
    """
    words = table.kind.split()
    return table.source if words[0] in _TEXT_KINDS and words[-1] != "repr" else None


def table_members(found: RecognisedTable, readers: Collection[str]) -> Members:
    """The members of the result that stands for a table. `readers` are the reading tools that are there."""
    return {
        "next_step": next_step(table_words(found), "table", readers),
        "shape": found.table.kind,
        "total_rows": len(found.rows),
        **columns_of(found.columns),
        **summary_of(found.summary),
        **fields_of(found.table.fields),
    }


def text_members(found: Opaque, readers: Collection[str]) -> Members:
    """The members of the result that stands for a text or for JSON."""
    text = found.raw.decode("utf-8", "replace")
    is_json = found.media_type.partition(";")[0].strip() == _JSON_TYPE
    words = f"JSON of {len(found.raw):,} bytes" if is_json else _text_words(text, found)
    return {
        "next_step": next_step(words, "json" if is_json else "text", readers),
        "shape": "json" if is_json else "text",
        "size": len(found.raw),
        "media_type": found.media_type,
        "preview": preview_of(text),
        **fields_of(found.fields),
    }


def table_words(found: RecognisedTable) -> str:
    """The number of rows and columns, as a noun phrase."""
    rows, columns = len(found.rows), len(found.columns)
    return f"{rows:,} row{'s' * (rows != 1)} of {columns:,} column{'s' * (columns != 1)}"


def _text_words(text: str, content: Opaque) -> str:
    lines = text.count("\n") + (not text.endswith("\n"))
    return f"A text of {lines:,} line{'s' * (lines != 1)}, {len(content.raw):,} bytes"
