"""Turns a large result into what it is: a table or a text on the plane, and a small result that says how to read on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from broker_plane.errors import SelectorError, TabularError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy import results
from broker_plane.proxy.clients import Client, Threshold
from broker_plane.proxy.results import CallFacts, Members
from broker_plane.reading.tools import next_step
from broker_plane.runtime.arguments import UNLIMITED
from broker_plane.runtime.offering import Published
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.texts import publish_text
from broker_plane.shapes.recognise import recognise
from broker_plane.shapes.table import Opaque, Row, Table
from broker_plane.tabular.abstract import AbstractBuilder, check_domains, parse_domains
from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.json_values import json_bytes
from broker_plane.wire.column_names import resolved
from broker_plane.wire.names import ROW_ID

log = redacted_logger(__name__)

_IN_THREAD_BYTES = 64 << 10
"""Results of more bytes are recognised in a thread."""
_TEXT_KINDS = ("csv", "tsv", "ndjson", "markdown", "fence", "html", "wrapped")
_JSON_TYPE = "application/json"

Connect = Callable[[], Awaitable[Plane]]


class NotATableError(SelectorError):
    """Columns were requested of a result that is not a table; `content` is the result without them."""

    def __init__(self, message: str, content: list[Any]) -> None:
        super().__init__(message)
        self.content = content


@dataclass(frozen=True, slots=True)
class _Recognised:
    """A table with its columns and a summary of all of them."""

    table: Table
    rows: list[Row]
    columns: list[str]
    summary: dict[str, dict[str, Any]]
    """Empty if columns were requested."""


class Offload:
    """Rewrites results above the threshold, and those of which only some columns were requested."""

    def __init__(self, connect: Connect, threshold: Threshold) -> None:
        self._connect = connect
        self.threshold = threshold

    def wanted(self, result: Mapping[str, Any], size: int, domains: str, client: Client) -> bool:
        """Whether a result of `size` bytes on the wire has to be rewritten."""
        if result.get("isError") or result.get("resultType", "complete") != "complete":
            return False
        return bool(domains) or (size > self.threshold.least_bytes(client) and self._large(result, client))

    async def rewritten(self, call: CallFacts, result: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The result in the form of a resource tool (docs/reference/wire-protocol.md#results), and the kind of table
        that was recognised, which is empty if it is not a table. Other blocks are kept.

        Raises:
            NotATableError: `abstract_domains` was passed, and the result is not a table.
            BrokerPlaneError: nothing was published, and the caller still has the result.
        """
        found = await _in_thread(result, partial(_recognised, result, call.shape, summarize=not call.domains))
        if isinstance(found, Opaque):
            if call.domains:
                raise await self._not_a_table(call, result, found)
            return await self._text(call, result, found) if self._large(result, call.client) else result, ""
        shown = resolved(parse_domains(call.domains), found.columns)
        check_domains(shown, found.columns)
        if shown:
            made = await self._columns(call, result, found, shown)
        else:
            made = await self._table(call, result, found) if self._large(result, call.client) else result
        return made, found.table.kind

    def _large(self, result: Mapping[str, Any], client: Client) -> bool:
        try:
            return self.threshold.exceeded_by(result, client)
        except TabularError:  # nested too deeply to be serialized
            return False

    async def _table(self, call: CallFacts, result: dict[str, Any], found: _Recognised) -> dict[str, Any]:
        """Publish a table: a text as it is with the table beside it, everything else as rows."""
        plane, source = await self._connect(), _kept_text(found.table)
        if source is None:
            published = await plane.publish(found.rows, name=call.tool, uses=UNLIMITED, columns=found.columns)
        else:
            published = await publish_text(
                plane, source.raw, found.rows, found.columns, media_type=source.media_type, name=call.tool
            )
        members: Members = {
            "next_step": next_step(_table_words(found), "table", call.readers),
            "shape": found.table.kind,
            "total_rows": len(found.rows),
            "resource_url": published.resource_url,
            **results.columns_of(found.columns),
            **results.summary_of(found.summary),
            **results.fields_of(found.table.fields),
        }
        if source is not None:
            members |= _text_facts(source, published)
        return results.replaced(call, result, members, published)

    async def _columns(
        self, call: CallFacts, result: dict[str, Any], found: _Recognised, shown: list[str]
    ) -> dict[str, Any]:
        """The columns that were requested, and the others as `body` or behind `resource_url`."""
        members: Members = {
            "shape": found.table.kind,
            "total_rows": len(found.rows),
            "columns": found.columns,
            "abstract_domains": shown,
            "body_domains": [name for name in found.columns if name not in shown],
            **results.fields_of(found.table.fields),
        }
        if call.mode == "sync":
            members["abstract"] = _rows_of(found, shown)
            members["body"] = _rows_of(found, members["body_domains"])
            return results.replaced(call, result, members, None)
        plane = await self._connect()
        published = await plane.publish(
            found.rows, abstract=shown, name=call.tool, uses=UNLIMITED, columns=found.columns
        )
        step = next_step(_table_words(found), "table", call.readers)
        members = {"next_step": step, "resource_url": published.resource_url} | members
        members["abstract"] = results.first_of(published.abstract, self.threshold.least_bytes(call.client))
        if published.abstract_truncated or len(members["abstract"]) < len(found.rows):
            summary = published.summary or await asyncio.to_thread(_summary, found.rows, shown)
            members |= {"abstract_truncated": True, **results.summary_of(summary)}
        return results.replaced(call, result, members, published)

    async def _text(self, call: CallFacts, result: dict[str, Any], found: Opaque) -> dict[str, Any]:
        """Publish content that is not a table, byte for byte."""
        plane = await self._connect()
        published = await plane.publish(found.raw, name=call.tool, media_type=found.media_type, uses=UNLIMITED)
        text = found.raw.decode("utf-8", "replace")
        is_json = found.media_type.partition(";")[0].strip() == _JSON_TYPE
        words = _json_words(found) if is_json else _text_words(text, found)
        members: Members = {
            "next_step": next_step(words, "json" if is_json else "text", call.readers),
            "shape": "json" if is_json else "text",
            "resource_url": published.resource_url,
            **_text_facts(found, published),
            "preview": results.preview_of(text),
            **results.fields_of(found.fields),
        }
        return results.replaced(call, result, members, published)

    async def _not_a_table(self, call: CallFacts, result: dict[str, Any], found: Opaque) -> NotATableError:
        made = await self._text(call, result, found) if self._large(result, call.client) else result
        content = list(made.get("content") or [])
        if not any(block.get("type") == "text" for block in content) and made.get("structuredContent") is not None:
            content.append({"type": "text", "text": json_bytes(made["structuredContent"]).decode()})
        said = (
            f"abstract_domains chooses columns of a table, and {call.tool} returned {found.media_type}, which is not "
            "one; call it without abstract_domains. The result without it:"
        )
        return NotATableError(said, content)


def _recognised(result: Mapping[str, Any], shape: str, *, summarize: bool) -> _Recognised | Opaque:
    try:
        found = recognise(result, shape=shape)
    except TabularError as error:  # the user named another shape; what it is instead is in the result
        log.warning("--shape %s: %s", shape, error)
        found = recognise(result)
    if isinstance(found, Opaque):
        return found
    rows, columns = found.rows, [name for name in found.columns if name != ROW_ID]
    if len(columns) < len(found.columns):
        rows = [{name: value for name, value in row.items() if name != ROW_ID} for row in rows]
    return _Recognised(found, rows, columns, _summary(rows, columns) if summarize else {})


def _summary(rows: list[Row], columns: list[str]) -> dict[str, dict[str, Any]]:
    builder = AbstractBuilder(columns, 0)
    builder.add(frame_of(rows, 0))
    return builder.summary()


def _kept_text(table: Table) -> Opaque | None:
    """The text that a pull returns, so that a copy of a file is that file; None for rows.

    Literals of Python are published as rows, and so is a text of JSON unless it is wrapped, as files are.
    """
    words = table.kind.split()
    return table.source if words[0] in _TEXT_KINDS and words[-1] != "repr" else None


def _text_facts(content: Opaque, published: Published) -> Members:
    digest = f"sha256:{published.body.digest}"
    return {"size": published.body.size, "media_type": content.media_type, "digest": digest}


def _table_words(found: _Recognised) -> str:
    rows, columns = len(found.rows), len(found.columns)
    return f"{rows:,} row{'s' * (rows != 1)} of {columns:,} column{'s' * (columns != 1)}"


def _text_words(text: str, content: Opaque) -> str:
    lines = text.count("\n") + (not text.endswith("\n"))
    return f"A text of {lines:,} line{'s' * (lines != 1)}, {len(content.raw):,} bytes"


def _json_words(content: Opaque) -> str:
    return f"JSON of {len(content.raw):,} bytes"


def _rows_of(found: _Recognised, names: list[str]) -> list[Row]:
    builder = AbstractBuilder(names, None)
    builder.add(frame_of(found.rows, 0))
    return builder.rows


async def _in_thread(result: Mapping[str, Any], work: Callable[[], _Recognised | Opaque]) -> _Recognised | Opaque:
    size = sum(len(block["text"]) for block in result.get("content") or () if block.get("type") == "text")
    if size < _IN_THREAD_BYTES and result.get("structuredContent") is None:
        return work()
    return await asyncio.to_thread(work)
