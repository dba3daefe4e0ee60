"""The results of tools in any framework as MCP's wire form, and the small result back in the framework's own. Pure.

Frameworks return MCP results, content blocks, messages, text, or whatever a function returned; tests/agents has the
forms that they really produce.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from broker_plane.tabular.json_values import json_bytes
from broker_plane.wire.exact_json import dumps

Members = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WithArtifact:
    """The result of a LangChain tool with `content_and_artifact`: the model reads the content only."""

    content: Any
    artifact: Any


@dataclass(frozen=True, slots=True)
class WireForm:
    """`result` has `content`, and `structuredContent` if there is any."""

    result: Members
    replaced: Callable[[Members], Any]
    """Given the members of a small result, that result in the framework's form."""


def wire_form(value: Any) -> WireForm | None:
    """The wire form of a tool's result; None if it is an error or has nothing to read."""
    if isinstance(value, WithArtifact):
        inner = wire_form(value.content)
        return inner and WireForm(inner.result, lambda made: WithArtifact(inner.replaced(made), value.artifact))
    if isinstance(value, (str, bytes)):
        return _of_text(value if isinstance(value, str) else value.decode("utf-8", "replace"))
    if isinstance(value, BaseModel):
        return _of_model(value)
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if isinstance(value, (list, tuple)) and (blocks := _blocks(value)) is not None:
        return WireForm({"content": blocks}, lambda made: _shown(made, blocks))
    if isinstance(value, (list, tuple)) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return _of_value(value)
    return _of_object(value)


def _of_text(text: str) -> WireForm:
    return WireForm({"content": [{"type": "text", "text": text}]}, _text)


def _of_model(value: BaseModel) -> WireForm | None:
    content = getattr(value, "content", None)
    if getattr(value, "type", None) == "text" and isinstance(text := getattr(value, "text", None), str):
        return WireForm(_of_text(text).result, lambda made: value.model_copy(update={"text": _text(made)}))
    if isinstance(content, str):  # a message of LangChain
        if getattr(value, "status", "") == "error":
            return None
        return WireForm(_of_text(content).result, lambda made: value.model_copy(update={"content": _text(made)}))
    blocks = _blocks(content)
    if blocks is None:
        return _of_value(value)
    wire = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if "isError" not in wire and not hasattr(value, "structuredContent"):  # a message with blocks
        if getattr(value, "status", "") == "error":
            return None
        return WireForm({"content": blocks}, lambda made: value.model_copy(update={"content": _shown(made, blocks)}))
    return _of_result(wire, lambda changed: type(value).model_validate(changed))


def _of_mapping(value: Mapping[str, Any]) -> WireForm | None:
    blocks = _blocks(value.get("content"))
    if blocks is not None:
        return _of_result({**value, "content": blocks}, dict)
    if value.get("type") == "text" and isinstance(text := value.get("text"), str):
        return WireForm(_of_text(text).result, lambda made: {**value, "text": _text(made)})
    return _of_value(value)


def _of_result(wire: Members, made_as: Callable[[Members], Any]) -> WireForm | None:
    if wire.get("is_error") or wire.get("isError"):
        return None

    def replaced(members: Members) -> Any:
        changed = {**wire, "content": _shown(members, wire["content"])}
        if wire.get("structuredContent") is not None:
            changed["structuredContent"] = members
        return made_as(changed)

    kept = ("content", "structuredContent", "_meta")
    return WireForm({name: wire[name] for name in kept if wire.get(name) is not None}, replaced)


def _of_value(value: Any) -> WireForm | None:
    """A value that the framework shows as JSON or by `str`."""
    try:
        plain = _plain(value)
        dumps(plain)
    except (TypeError, ValueError, RecursionError):
        return _of_object(value)
    return WireForm({"content": [], "structuredContent": plain}, _text)


def _of_object(value: Any) -> WireForm | None:
    """A value of another type: the model reads what `str` says."""
    if value is None or isinstance(value, (bool, int, float)):
        return None
    return _of_text(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    return value


def _blocks(value: Any) -> list[Members] | None:
    """Content blocks in their wire form; None for any other value."""
    if not isinstance(value, (list, tuple)) or not value:
        return None
    found = []
    for block in value:
        if isinstance(block, BaseModel):
            block = block.model_dump(mode="json", by_alias=True, exclude_none=True)
        if not isinstance(block, Mapping) or not isinstance(kind := block.get("type"), str):
            return None
        if kind == "text" and not isinstance(block.get("text"), str):
            return None
        found.append(dict(block))
    return found if any(block["type"] == "text" for block in found) else None


def _shown(members: Members, blocks: list[Members]) -> list[Members]:
    """One text in place of all texts; other blocks are kept."""
    return [{"type": "text", "text": _text(members)}, *(block for block in blocks if block["type"] != "text")]


def _text(members: Members) -> str:
    return json_bytes(members).decode()
