"""Turns a large result into what it is: a table or a text on the plane, and a small result that says how to read on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from broker_plane.errors import SelectorError, TabularError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy import results
from broker_plane.proxy.requested_columns import RequestedColumns
from broker_plane.proxy.results import CallFacts
from broker_plane.reading.clients import ShownPart, Threshold
from broker_plane.reading.held_back import (
    RecognisedTable,
    kept_text,
    recognised,
    table_members,
    text_members,
)
from broker_plane.reading.result_parts import Members
from broker_plane.runtime.holding import publish_held_back
from broker_plane.runtime.offering import Published
from broker_plane.runtime.plane import Plane
from broker_plane.shapes.table import Opaque
from broker_plane.tabular.abstract import check_domains, parse_domains
from broker_plane.tabular.json_values import json_bytes
from broker_plane.wire.column_names import resolved

log = redacted_logger(__name__)

_IN_THREAD_BYTES = 64 << 10
"""Results of more bytes are recognised in a thread."""

Connect = Callable[[], Awaitable[Plane]]


class NotATableError(SelectorError):
    """Columns were requested of a result that is not a table; `content` is the result without them."""

    def __init__(self, message: str, content: list[Any]) -> None:
        super().__init__(message)
        self.content = content


class Offload:
    """Rewrites results above the threshold, and those of which only some columns were requested."""

    def __init__(self, connect: Connect, threshold: Threshold) -> None:
        self._connect = connect
        self.threshold = threshold

    def wanted(self, result: Mapping[str, Any], size: int, domains: str, client: ShownPart) -> bool:
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

    def _large(self, result: Mapping[str, Any], client: ShownPart) -> bool:
        try:
            return self.threshold.exceeded_by(result, client)
        except TabularError:  # nested too deeply to be serialized
            return False

    async def _table(self, call: CallFacts, result: dict[str, Any], found: RecognisedTable) -> dict[str, Any]:
        """Publish a table: a text as it is with the table beside it, everything else as rows."""
        published = await publish_held_back(await self._connect(), found, call.tool)
        members, source = table_members(found, call.readers), kept_text(found.table)
        if source is not None:
            members |= _text_facts(source, published)
        return results.replaced(call, result, results.with_url(members, published), published)

    async def _columns(
        self, call: CallFacts, result: dict[str, Any], found: RecognisedTable, shown: list[str]
    ) -> dict[str, Any]:
        """The columns that were requested, and the others behind `resource_url`, or as `body` if the client shows it
        whole (ADR 0034)."""
        columns = RequestedColumns(call, result, found, shown)
        if call.mode == "sync":
            made = await asyncio.to_thread(columns.in_sync)
            if not await asyncio.to_thread(self._large, made, call.client):
                return made
        plane = await self._connect()
        published = await plane.publish(
            found.rows, abstract=shown, name=call.tool, uses="unlimited", columns=found.columns
        )
        return await asyncio.to_thread(columns.in_async, published, self.threshold)

    async def _text(self, call: CallFacts, result: dict[str, Any], found: Opaque) -> dict[str, Any]:
        """Publish content that is not a table, byte for byte."""
        published = await publish_held_back(await self._connect(), found, call.tool)
        members = text_members(found, call.readers) | _text_facts(found, published)
        return results.replaced(call, result, results.with_url(members, published), published)

    async def _not_a_table(self, call: CallFacts, result: dict[str, Any], found: Opaque) -> NotATableError:
        said = (
            f"abstract_domains chooses columns of a table, and {call.tool} returned {found.media_type}, which is not "
            "one; call it without abstract_domains. The result without it:"
        )
        content = _content_of(result)
        if self._large({"content": [{"type": "text", "text": said}, *content]}, call.client):
            content = _content_of(await self._text(call, result, found))
        return NotATableError(said, content)


def _content_of(result: Mapping[str, Any]) -> list[Any]:
    """The blocks of a result; structured content without a text becomes one."""
    content = list(result.get("content") or [])
    if not any(block.get("type") == "text" for block in content) and result.get("structuredContent") is not None:
        content.append({"type": "text", "text": json_bytes(result["structuredContent"]).decode()})
    return content


def _recognised(result: Mapping[str, Any], shape: str, *, summarize: bool) -> RecognisedTable | Opaque:
    try:
        return recognised(result, shape, summarize=summarize)
    except TabularError as error:  # the user named another shape; what it is instead is in the result
        log.warning("--shape %s: %s", shape, error)
        return recognised(result, summarize=summarize)


def _text_facts(content: Opaque, published: Published) -> Members:
    digest = f"sha256:{published.body.digest}"
    return {"size": published.body.size, "media_type": content.media_type, "digest": digest}


async def _in_thread(
    result: Mapping[str, Any], work: Callable[[], RecognisedTable | Opaque]
) -> RecognisedTable | Opaque:
    size = sum(len(block["text"]) for block in result.get("content") or () if block.get("type") == "text")
    if size < _IN_THREAD_BYTES and result.get("structuredContent") is None:
        return work()
    return await asyncio.to_thread(work)
