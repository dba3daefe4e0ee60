"""The form of an offloaded result: what it is, what to do next, a summary or a preview, and where the body is. Pure.

Its parts have budgets in tokens, so that a result of any width stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker_plane.proxy.clients import UNKNOWN, Client
from broker_plane.proxy.messages import mapping
from broker_plane.reading.tokens import TOKEN_BYTES, cut_text
from broker_plane.runtime.offering import Published
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools.results import offered
from broker_plane.wire.exact_json import loads
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME

PREVIEW_TOKENS = 200
SUMMARY_TOKENS = 600
COLUMNS_TOKENS = 200
FIELDS_TOKENS = 200
LINKS_SINCE = "2025-06-18"
"""The first protocol version that has resource links."""

Members = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The facts about a call on which the form of its result depends."""

    tool: str
    domains: str = ""
    mode: str = "async"
    version: str = ""
    client: Client = UNKNOWN
    shape: str = "auto"
    """What the user says that the tool returns."""
    readers: frozenset[str] = frozenset()
    """The names of the reading tools that the client can call."""
    hidden: frozenset[str] = frozenset()
    """Members of our results that the tool's output schema restricts."""
    typed: bool = False
    """Whether the tool's output schema describes an object with members of its own."""


def preview_of(text: str) -> str:
    """The beginning of a text."""
    return cut_text(text, PREVIEW_TOKENS * TOKEN_BYTES)


def columns_of(names: Sequence[str]) -> Members:
    """The member `columns`; of very many names the first, with the number of the others in `more_columns`."""
    shown = first_of(list(names), COLUMNS_TOKENS * TOKEN_BYTES)
    more = len(names) - len(shown)
    return {"columns": shown} | ({"more_columns": more} if more else {})


def fields_of(fields: Mapping[str, Any]) -> Members:
    """The member `fields`: small values that the server returned beside the body. Long ones are shortened."""
    if not fields:
        return {}
    kept: Members = {}
    for name, value in fields.items():
        cut = value if _fits(value, PREVIEW_TOKENS) else cut_text(json_bytes(value).decode(), TOKEN_BYTES * 20)
        if not _fits(kept | {name: cut}, FIELDS_TOKENS):
            break
        kept[name] = cut
    more = len(fields) - len(kept)
    return {"fields": kept | ({"…": f"{more} more"} if more else {})}


def summary_of(summary: Mapping[str, Mapping[str, Any]]) -> Members:
    """The member `summary`: by column what fits, first with examples, then without, at last the types alone."""
    whole = {
        name: {key: value for key, value in column.items() if value or key == "type"}
        for name, column in summary.items()
    }
    fewer = {name: _shorter(column) for name, column in whole.items()}
    bare = {name: {key: value for key, value in column.items() if key != "examples"} for name, column in whole.items()}
    types = {name: column["type"] for name, column in whole.items()}
    for found in (whole, fewer, bare, types):
        if _fits(found, SUMMARY_TOKENS):
            return {"summary": found}
    shown = first_of(list(types.items()), SUMMARY_TOKENS * TOKEN_BYTES)
    return {"summary": dict(shown) | {"…": f"{len(types) - len(shown)} more columns"}}


def first_of(items: list[Any], most_bytes: int) -> list[Any]:
    """As many of the first items as `most_bytes` of JSON hold."""
    size = 2
    for number, item in enumerate(items):
        size += len(json_bytes(item)) + 1
        if size > most_bytes:
            return items[:number]
    return items


def replaced(call: CallFacts, result: Mapping[str, Any], members: Members, published: Published | None) -> Members:
    """`result` with our text and link in place of its texts; its other blocks and its `_meta` are kept."""
    text = json_bytes(members)
    content: list[Any] = [{"type": "text", "text": text.decode()}]
    meta = dict(result.get("_meta") or {})
    if published is not None:
        if not call.version or call.version >= LINKS_SINCE:
            content.append(_link(call.tool, published))
        if (descriptor := offered(published)) is not None:
            meta[EXTENSION] = descriptor
    if call.typed:
        # Without this, FastMCP's client would build an empty object of the tool's type.
        meta["fastmcp"] = {**mapping(meta.get("fastmcp")), "wrap_result": True}
    kept = [block for block in result.get("content") or () if block.get("type") != "text"]
    structured = {name: value for name, value in loads(text).items() if name not in call.hidden}
    changed = {**result, "content": [*content, *kept], "structuredContent": structured}
    return changed | ({"_meta": meta} if meta else {})


def _link(tool: str, published: Published) -> Members:
    body = published.body
    return {
        "type": "resource_link",
        "uri": f"{RESOURCE_SCHEME}://body/{published.grant}",
        "name": body.name or tool,
        "mimeType": body.media_type,
        "size": body.size,
    }


def _shorter(column: Mapping[str, Any]) -> Members:
    examples = column.get("examples", [])
    return {**column, "examples": examples[:2]} if examples else dict(column)


def _fits(value: Any, tokens: int) -> bool:
    return len(json_bytes(value)) <= tokens * TOKEN_BYTES
