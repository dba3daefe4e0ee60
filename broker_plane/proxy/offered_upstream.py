"""A result that was held back by the server, or by another proxy before it: how its body is read here. Pure.

That one names no reading tools, because it has none; this proxy lists some.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from broker_plane.proxy.messages import mapping
from broker_plane.reading.answers import Kind
from broker_plane.reading.kinds import opaque_kind
from broker_plane.reading.tools import with_readers
from broker_plane.shapes.results import texts_of
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools.schemas import URL
from broker_plane.wire.exact_json import MALFORMED, loads

_NEXT_STEP = "next_step"


def offered_url(result: Mapping[str, Any]) -> str:
    """The `resource_url` of a result that says what to do next with it; empty if it does not."""
    members = _members(result)
    url = members.get(URL)
    return url if isinstance(url, str) and isinstance(members.get(_NEXT_STEP), str) else ""


def with_tools(result: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The result with a `next_step` that names the reading tools `names`; the same object if nothing changes."""
    members = _members(result)
    said = str(members[_NEXT_STEP])
    following = with_readers(said, _kind_of(members), names)
    if following == said:
        return result
    changed = {**result, "content": [_with_step(block, following) for block in result.get("content") or ()]}
    structured = mapping(result.get("structuredContent"))
    if _NEXT_STEP in structured:
        changed["structuredContent"] = {**structured, _NEXT_STEP: following}
    return changed


def _members(result: Mapping[str, Any]) -> Mapping[str, Any]:
    structured, texts = mapping(result.get("structuredContent")), texts_of(result)
    return structured if _NEXT_STEP in structured or len(texts) != 1 else _in_text(texts[0])


def _in_text(text: str) -> Mapping[str, Any]:
    if text.lstrip()[:1] != "{" or f'"{_NEXT_STEP}"' not in text:
        return {}
    try:
        return mapping(loads(text))
    except MALFORMED:
        return {}


def _with_step(block: Any, following: str) -> Any:
    members = _in_text(block["text"]) if mapping(block).get("type") == "text" else {}
    return {**block, "text": json_bytes({**members, _NEXT_STEP: following}).decode()} if members else block


def _kind_of(members: Mapping[str, Any]) -> Kind:
    """The kind of the body, by the members that every result has for it."""
    if isinstance(members.get("total_rows"), int):
        return "table"
    return opaque_kind(str(members.get("media_type", "")), b"")
