"""Whether a tool's result is a table: JSON rows in structured content or in text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from broker_plane.proxy.messages import mapping
from broker_plane.wire.exact_json import MALFORMED, loads

Row = dict[str, Any]
Result = Mapping[str, Any]


def table_of(result: Result, *, in_strings: bool = True) -> list[Row] | None:
    """The rows of a `CallToolResult` in its wire form, or None.

    They are the structured content, or its only array; else the only text block; else all text blocks with one row
    each, which is how the Python SDK writes a list. Without `in_strings`, a text that the structured content repeats
    stays a text even if it is JSON: a JSON file has to arrive unchanged.
    """
    if not in_strings and wrapped_text(result) is not None:
        return None
    structured = result.get("structuredContent")
    if structured is not None and (rows := _rows_in(structured)):
        return rows
    texts = texts_of(result)
    if len(texts) == 1:
        return _rows_in(_parsed(texts[0]))
    rows = [_parsed(text) for text in texts]
    return rows if _are_rows(rows) else None


def wrapped_text(result: Result) -> tuple[str, dict[str, Any]] | None:
    """The text that the structured content merely wraps, as in `{"content": text}`, and its other members."""
    structured, texts = result.get("structuredContent"), texts_of(result)
    if isinstance(structured, str):
        return (structured, {}) if texts in ([], [structured]) else None
    if not isinstance(structured, dict):
        return None
    if not texts and len(structured) == 1 and isinstance(only := next(iter(structured.values())), str):
        return only, {}
    text = "\n".join(texts)
    names = [name for name, value in structured.items() if text and value == text]
    if not names:
        return None
    return text, {name: value for name, value in structured.items() if name not in names}


def texts_of(result: Result) -> list[str]:
    return [block["text"] for block in result.get("content") or () if block.get("type") == "text"]


def is_table_schema(schema: Mapping[str, Any] | None) -> bool:
    """Whether an output schema describes a table: an array of objects, alone or as the only member."""
    if not schema or not isinstance(schema, Mapping):
        return False
    found = _resolved(schema, schema)
    if found.get("type") == "array":
        return _resolved(found.get("items") or {}, schema).get("type") == "object"
    members = mapping(found.get("properties"))
    if len(members) != 1:
        return False
    (member,) = members.values()
    only = _resolved(member, schema)
    return only.get("type") == "array" and _resolved(only.get("items") or {}, schema).get("type") == "object"


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema behind one `$ref` into the same document."""
    if not isinstance(schema, Mapping):
        return {}
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return schema
    found: Any = root
    for part in reference[2:].split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _rows_in(value: Any) -> list[Row] | None:
    if isinstance(value, list):
        return value if _are_rows(value) else None
    if isinstance(value, dict):
        arrays = [member for member in value.values() if isinstance(member, list)]
        if len(arrays) == 1 and len(value) == 1 and _are_rows(arrays[0]):
            return arrays[0]
        if len(value) == 1 and isinstance(text := next(iter(value.values())), str):
            return _rows_in(_parsed(text))
    return None


def _are_rows(value: Sequence[Any]) -> bool:
    return bool(value) and set(map(type, value)) == {dict}


def _parsed(text: str) -> Any:
    if text[:1] not in "[{" and text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        return loads(text)
    except MALFORMED:
        return None
