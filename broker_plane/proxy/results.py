"""The form of an offloaded result: its members (reading/held_back.py), and where the body is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.proxy.messages import mapping
from broker_plane.reading.clients import UNKNOWN, Client
from broker_plane.reading.result_parts import Members
from broker_plane.runtime.offering import Published
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools.results import offered
from broker_plane.wire.exact_json import loads
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME

LINKS_SINCE = "2025-06-18"
"""The first protocol version that has resource links."""


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


def with_url(members: Members, published: Published) -> Members:
    """The members with the URL of the body, after those that say what it is and how to read on."""
    leading = {name: members[name] for name in ("next_step", "shape", "total_rows") if name in members}
    return leading | {"resource_url": published.resource_url} | members


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
