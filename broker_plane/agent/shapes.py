"""Finds bodies in what a tool returned, in any framework. Pure.

A body is part of a sync result of S2SP (`is_sync_result`): an object or JSON text, alone or inside content blocks,
`structuredContent`, tuples of content and artifact, messages, models and dataclasses. tests/agents has the shapes that
the frameworks really produce.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.names import ROW_ID

_MAX_DEPTH = 12
_MEMBERS = ("total_rows", "columns", "abstract_domains", "body_domains")
"""The members of S2SP results besides `abstract` and `body`."""


def is_sync_result(value: Any) -> bool:
    """Whether `value` is a table split in two, as in the sync mode of S2SP.

    Papers, issues and mails have an abstract and a body, too. Here the body is a list of rows, each an object with a
    `_row_id`, and the abstract is a list of such objects or (in mcp-sd) one object that summarizes them; an abstract
    row with an id that the body lacks means that it is something else. A table without rows has no ids, and is
    recognized by the other members of S2SP results.
    """
    if not isinstance(value, dict) or not ("abstract" in value and isinstance(value.get("body"), list)):
        return False
    abstract, hidden = value["abstract"], _ids(value["body"])
    if not value["body"]:
        return abstract == [] and all(name in value for name in _MEMBERS)
    if isinstance(abstract, list):
        shown = _ids([row for row in abstract if not isinstance(row, dict) or ROW_ID in row])
        return shown is not None and hidden is not None and shown <= hidden
    return isinstance(abstract, dict) and hidden is not None


def _ids(rows: list[Any]) -> set[int | str] | None:
    """The row ids of a list of rows; None for any other list."""
    if not all(isinstance(row, dict) for row in rows):
        return None
    ids = [row.get(ROW_ID) for row in rows]
    return None if set(map(type, ids)) - {int, str} else set(ids)


class FoundBodies:
    """The distinct `bodies` in a result, and the result without them."""

    def __init__(self, result: Any) -> None:
        self._result = result
        self.bodies: list[Any] = []
        self._known: dict[bytes, int] = {}
        _walk(result, self._number, 0)

    def without(self, handles: list[str]) -> Any:
        """The result with a handle as `resource_url` in place of each body; the same object if it has none."""
        if not self.bodies:
            return self._result
        return _walk(self._result, lambda shape: _abstracted(shape, handles[self._number(shape)]), 0)

    def _number(self, shape: Any) -> int:
        key = exact_json_bytes(shape["body"])
        if key not in self._known:
            self._known[key] = len(self.bodies)
            self.bodies.append(shape["body"])
        return self._known[key]


def _abstracted(shape: Mapping[str, Any], handle: str) -> dict[str, Any]:
    return {name: value for name, value in shape.items() if name != "body"} | {"resource_url": handle}


def _walk(value: Any, seen: Callable[[Any], Any], depth: int) -> Any:
    """`value` with every sync result replaced by what `seen` returns for it; the same object if there is none.

    To collect bodies, `seen` returns a number, and the rebuilt value is discarded.
    """
    if depth > _MAX_DEPTH:
        return value
    if isinstance(value, (str, bytes)):
        return _text(value, seen, depth)
    if is_sync_result(value):
        return seen(value)
    if isinstance(value, dict):
        found = {name: _walk(member, seen, depth + 1) for name, member in value.items()}
        return found if any(found[name] is not value[name] for name in value) else value
    if isinstance(value, (list, tuple)):
        return _sequence(value, [_walk(member, seen, depth + 1) for member in value])
    if isinstance(value, BaseModel):
        return _model(value, seen, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass(value, seen, depth)
    return value


def _sequence(value: Any, found: list[Any]) -> Any:
    if all(new is old for new, old in zip(found, value, strict=True)):
        return value
    if hasattr(value, "_fields"):
        return type(value)(*found)
    return type(value)(found)


def _text(value: str | bytes, seen: Callable[[Any], Any], depth: int) -> Any:
    """JSON text in which every sync result is replaced."""
    mark, other = ('"body"', '"abstract"') if isinstance(value, str) else (b'"body"', b'"abstract"')
    # An escaped quote indicates a text within a text: {"result": "{\"abstract\": …"}.
    if not (mark in value and other in value) and not _escaped(value):  # type: ignore[operator]  # same type
        return value
    try:
        parsed = loads(value)
    except MALFORMED:
        return value
    if not isinstance(parsed, (dict, list, str)):
        return value
    found = _walk(parsed, seen, depth + 1)
    return value if found is parsed else exact_json_bytes(found).decode()


def _escaped(value: str | bytes) -> bool:
    return '\\"body\\"' in value if isinstance(value, str) else b'\\"body\\"' in value


def _model(value: BaseModel, seen: Callable[[Any], Any], depth: int) -> Any:
    changed = {}
    for name in type(value).model_fields:
        member = getattr(value, name, None)
        found = _walk(member, seen, depth + 1)
        if found is not member:
            changed[name] = found
    return value.model_copy(update=changed) if changed else value


def _dataclass(value: Any, seen: Callable[[Any], Any], depth: int) -> Any:
    changed = {}
    for field in dataclasses.fields(value):
        member = getattr(value, field.name, None)
        found = _walk(member, seen, depth + 1)
        if found is not member and field.init:
            changed[field.name] = found
    return dataclasses.replace(value, **changed) if changed else value
