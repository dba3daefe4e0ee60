"""Turns a large result into an abstract and an offer: its texts and structured content are published."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.errors import TabularError
from broker_plane.proxy.messages import mapping
from broker_plane.proxy.tables import Row, table_of, texts_of, wrapped_text
from broker_plane.runtime.offering import Published
from broker_plane.runtime.plane import Plane
from broker_plane.tabular.abstract import check_domains, parse_domains
from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools import results
from broker_plane.wire.column_names import resolved
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.names import ROW_ID

PREVIEW_CHARACTERS = 400
TEXT = "text/plain; charset=utf-8"
LINKS_SINCE = "2025-06-18"
"""The first protocol version that has resource links."""

Connect = Callable[[], Awaitable[Plane]]


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The facts about a call on which the form of its result depends."""

    tool: str
    domains: str = ""
    mode: str = "async"
    version: str = ""
    declared: bool = False
    """Whether the user declared that the tool returns tables."""
    hidden: frozenset[str] = frozenset()
    """Members of our results that the tool's output schema restricts."""
    typed: bool = False
    """Whether the tool's output schema describes an object with members of its own."""


class Offload:
    """Rewrites results of more than `threshold` bytes, and those of which only some columns were requested."""

    def __init__(self, connect: Connect, threshold: int) -> None:
        self._connect = connect
        self.threshold = threshold

    def wanted(self, result: Mapping[str, Any], size: int, domains: str) -> bool:
        """Whether a result of `size` bytes on the wire has to be rewritten."""
        if result.get("isError") or result.get("resultType", "complete") != "complete":
            return False
        try:
            return bool(domains) or (size > self.threshold and _text_size(result) > self.threshold)
        except TabularError:  # nested too deeply to be serialized
            return False

    async def rewritten(self, call: CallFacts, result: dict[str, Any]) -> dict[str, Any]:
        """The result in the form of a resource tool (docs/reference/wire-protocol.md#results); other blocks are kept.

        Raises:
            BrokerPlaneError: nothing was published, and the caller still has the result.
        """
        rows = table_of(result, in_strings=call.declared or bool(call.domains))
        if rows is not None and any(ROW_ID in row for row in rows):
            rows = [{name: value for name, value in row.items() if name != ROW_ID} for row in rows]
        if rows is None:
            return result if _text_size(result) <= self.threshold else await self._text(call, result)
        shown = parse_domains(call.domains)
        if shown:
            columns = list(frame_of(rows, 0).columns)
            shown = resolved(shown, columns)
            check_domains(shown, columns)
        if call.mode == "sync" and shown:
            frame = frame_of(rows, 0)
            return _replaced(call, result, results.split(frame, list(frame.columns), shown))
        return await self._table(call, result, rows, shown)

    async def _table(
        self, call: CallFacts, result: dict[str, Any], rows: list[Row], shown: list[str]
    ) -> dict[str, Any]:
        plane = await self._connect()
        if shown:
            published = await plane.publish(rows, abstract=shown, name=call.tool)
        else:
            published = await results.publish_summarized(plane, rows, None, name=call.tool)
        shape = results.table_shape(len(rows), published.body.columns, shown, published.abstract)
        return _replaced(call, result, results.in_async(shape, published, call.tool, results.offered(published)))

    async def _text(self, call: CallFacts, result: dict[str, Any]) -> dict[str, Any]:
        """Publish text that is not a table, or other structured content, as an opaque body."""
        raw, kind, fields = self._opaque(result)
        texts = texts_of(result)
        plane = await self._connect()
        published: Published = await plane.publish(raw, name=call.tool, media_type=kind)
        shape = {
            "size": published.body.size,
            "media_type": kind,
            "digest": f"sha256:{published.body.digest}",
            "preview": (texts[0] if texts else raw.decode())[:PREVIEW_CHARACTERS],
        }
        if fields:
            shape["fields"] = fields
        return _replaced(call, result, results.in_async(shape, published, call.tool, results.offered(published)))

    def _opaque(self, result: dict[str, Any]) -> tuple[bytes, str, dict[str, Any]]:
        """The bytes of the body, their media type, and the members beside the text in the structured content."""
        structured, text = result.get("structuredContent"), "\n".join(texts_of(result))
        wrapped = wrapped_text(result)
        if wrapped is not None and (not wrapped[1] or len(json_bytes(wrapped[1])) <= self.threshold):
            return wrapped[0].encode(), TEXT, wrapped[1]
        if structured is None or len(json_bytes(structured)) <= self.threshold:
            return text.encode(), TEXT, {}
        # Text with the same value is kept as it was written.
        return (text.encode() if _parsed(text) == structured else json_bytes(structured)), "application/json", {}


def _parsed(text: str) -> Any:
    try:
        return loads(text)
    except MALFORMED:
        return None


def _replaced(call: CallFacts, result: dict[str, Any], ours: Any) -> dict[str, Any]:
    """`result` with our text and link in place of its texts; its other blocks and its `_meta` are kept."""
    made = ours.to_wire()
    kept = [block for block in result.get("content") or () if block.get("type") != "text"]
    links = not call.version or call.version >= LINKS_SINCE
    new = [block for block in made["content"] if block["type"] == "text" or links]
    meta = (result.get("_meta") or {}) | (made.get("_meta") or {})
    if call.typed:
        # Without this, FastMCP's client would build an empty object of the tool's type.
        meta["fastmcp"] = {**mapping(meta.get("fastmcp")), "wrap_result": True}
    structured = {name: value for name, value in made["structuredContent"].items() if name not in call.hidden}
    changed = {**result, "content": [*new, *kept], "structuredContent": structured}
    return changed | ({"_meta": meta} if meta else {})


def _text_size(result: Mapping[str, Any]) -> int:
    """The number of bytes that a model might read: all texts, and the structured content."""
    structured = result.get("structuredContent")
    return sum(len(text.encode()) for text in texts_of(result)) + (
        0 if structured is None else len(json_bytes(structured))
    )
