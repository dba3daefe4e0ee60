"""Whether an output schema describes a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_MAX_STEPS = 20


def is_table_schema(schema: Any) -> bool:
    """Whether an output schema (JSON Schema) describes an array of objects, alone or as the only member."""
    if not isinstance(schema, Mapping) or not schema:
        return False
    found = _resolved(schema, schema)
    if found.get("type") == "array":
        return _has_objects(found, schema)
    members = found.get("properties")
    if not isinstance(members, Mapping) or len(members) != 1:
        return False
    only = _resolved(next(iter(members.values())), schema)
    return only.get("type") == "array" and _has_objects(only, schema)


def _has_objects(array: Schema, root: Schema) -> bool:
    return _resolved(array.get("items") or {}, root).get("type") == "object"


def _resolved(schema: Any, root: Schema) -> Schema:
    """A schema behind references into the same document (RFC 6901)."""
    for _ in range(_MAX_STEPS):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        found: Any = root
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list):
                found = found[int(name)] if name.isdecimal() and len(name) < 7 and int(name) < len(found) else None
            else:
                found = found.get(name) if isinstance(found, Mapping) else None
        schema = found
    return {}
