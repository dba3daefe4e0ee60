"""Output schemas that hold for a tool's own results and for ours, with every pointer still valid. Pure.

The root is kept: clients derive types from its `properties`, and `$ref` points into it. Only keywords that our result
would violate move into one alternative of an `anyOf`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

URL = "resource_url"
OURS = (
    "abstract", "abstract_domains", "abstract_truncated", "body", "body_domains", "columns", "digest", "fields",
    "media_type", "more_columns", "name", "next_step", "preview", URL, "shape", "size", "summary", "total_rows",
)  # fmt: skip
"""The members of our results."""

_PATTERN = f"^(?:{'|'.join(OURS)})$"
_MOVED = (
    "required", "minProperties", "maxProperties", "const", "enum", "dependentRequired", "dependentSchemas",
    "dependencies", "propertyNames", "$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if",
    "then", "else", "format",
)  # fmt: skip
_OPEN = ("additionalProperties", "unevaluatedProperties")
_DATA = ("const", "enum", "default", "examples", "example")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_OFFERED = {
    "type": "object",
    "required": [URL],
    "description": "A large result: an abstract or a summary of it, and where the whole is pulled",
}


def widened(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An output schema that holds for the tool's own results and for ours."""
    moved = {name: schema[name] for name in _MOVED if name in schema}
    kind = schema.get("type")
    if kind not in (None, "object") and not (isinstance(kind, list) and "object" in kind):
        moved["type"] = kind
    root = {name: value for name, value in schema.items() if name not in moved}
    if any(root.get(name, True) not in (True, {}) for name in _OPEN):
        root["patternProperties"] = {**root.get("patternProperties", {}), _PATTERN: {}}
    if not moved:
        return root
    hidden = hidden_members(schema)
    in_sync = {"type": "object", "required": ["abstract_domains" if "body" in hidden else "body"]}
    found: dict[str, Any] = {**root, "anyOf": [moved, {**_OFFERED, "properties": {URL: {"type": "string"}}}, in_sync]}
    leading = tuple(name for name in moved if name in _CONTAINERS)
    return _led(found, leading) if leading else found


_CONTAINERS = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")


def hidden_members(schema: Any) -> frozenset[str]:
    """Members of our results that the tool's own schema restricts; our structured content leaves them out."""
    if not isinstance(schema, Mapping):
        return frozenset()
    named, patterns = schema.get("properties"), schema.get("patternProperties")
    taken = set(named) if isinstance(named, Mapping) else set()
    for pattern in patterns if isinstance(patterns, Mapping) else ():
        if pattern != _PATTERN:
            taken.update(name for name in OURS if _matches(pattern, name))
    return frozenset(taken.intersection(OURS))


def _matches(pattern: Any, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except (re.error, TypeError):  # from another dialect
        return True


def _led(schema: Any, moved: tuple[str, ...]) -> Any:
    """The schema with pointers adjusted to the moved keywords. Data values are kept."""
    if isinstance(schema, list):
        return [_led(item, moved) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for name, value in schema.items():
        if name in ("$ref", "$dynamicRef") and isinstance(value, str):
            found[name] = _pointer(value, moved)
        elif name in _DATA:
            found[name] = value
        elif name in _NAMED and isinstance(value, dict):
            found[name] = {key: _led(item, moved) for key, item in value.items()}
        else:
            found[name] = _led(value, moved)
    return found


def _pointer(reference: str, moved: tuple[str, ...]) -> str:
    base, mark, path = reference.partition("#/")
    if mark and path.partition("/")[0] in moved:
        return f"{base}#/anyOf/0/{path}"
    return reference
