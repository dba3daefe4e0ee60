"""Whether an output schema describes a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_plane.shapes.columnar import BODIES, HEADS
from broker_plane.shapes.envelopes import NAMES

Schema = Mapping[str, Any]
_MAX_STEPS = 20


def is_table_schema(schema: Any) -> bool:
    """Whether an output schema (JSON Schema) describes a table: an array of objects, alone, as the only member or under
    a name that tables have; or columns and rows."""
    if not isinstance(schema, Mapping) or not schema:
        return False
    found = _resolved(schema, schema)
    if found.get("type") == "array":
        return _is_array_of(found, "object", schema)
    members = found.get("properties")
    if not isinstance(members, Mapping):
        return False
    arrays = [str(name) for name, member in members.items() if _is_array_of(member, "object", schema)]
    if len(arrays) == 1 and (len(members) == 1 or arrays[0].lower() in NAMES):
        return True
    heads = any(_resolved(members[name], schema).get("type") == "array" for name in HEADS if name in members)
    return heads and any(_is_array_of(members[name], "array", schema) for name in BODIES if name in members)


def _is_array_of(schema: Any, kind: str, root: Schema) -> bool:
    array = _resolved(schema, root)
    return array.get("type") == "array" and _resolved(array.get("items"), root).get("type") == kind


def _resolved(schema: Any, root: Schema) -> Schema:
    """A schema behind references into the same document (RFC 6901), and without `null` as an alternative."""
    for _ in range(_MAX_STEPS):
        if not isinstance(schema, Mapping):
            return {}
        reference, arms = schema.get("$ref"), schema.get("anyOf")
        if isinstance(reference, str) and reference.startswith("#/"):
            schema = _behind(reference, root)
        elif isinstance(arms, list):
            others = [arm for arm in arms if not (isinstance(arm, Mapping) and arm.get("type") == "null")]
            schema = others[0] if len(others) == 1 else None
        else:
            return schema
    return {}


def _behind(reference: str, root: Schema) -> Any:
    found: Any = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(name)] if name.isdecimal() and len(name) < 7 and int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, Mapping) else None
    return found
