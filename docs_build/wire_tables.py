"""The bridge's OpenAPI and AsyncAPI documents, as tables. The bridge serves the same two files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

BRIDGE = Path(__file__).resolve().parents[1] / "broker_plane" / "bridge"
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")

_OPENAPI_HEAD = """# HTTP operations (OpenAPI)

Generated from `openapi.yaml`, which every bridge serves at `/openapi.yaml`. [The bridge over HTTP](../bridge.md)
explains the behaviour; this page lists it.
"""
_ASYNCAPI_HEAD = """# NATS subjects (AsyncAPI)

Generated from `asyncapi.yaml`, which every bridge serves at `/asyncapi.yaml`. [The wire protocol](wire-protocol.md)
explains the exchange; this page lists the subjects and the members of each message.
"""


def openapi_page() -> str:
    """One section a path, with a table of its methods and one of its parameters."""
    document = _load("openapi.yaml")
    return "\n".join([_OPENAPI_HEAD, *_paths(document), *_schemas(document)])


def asyncapi_page() -> str:
    """A table of the subjects, and one section a message with its members."""
    document = _load("asyncapi.yaml")
    return "\n".join([_ASYNCAPI_HEAD, *_channels(document), *_messages(document)])


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((BRIDGE / name).read_text(encoding="utf-8"))
    return loaded


def _paths(document: Mapping[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        yield f"## `{path}`\n"
        yield from _table("Method", "Purpose", "Request", "Responses", rows=_operations(document, operations))
        parameters = list(_parameters(document, operations))
        if parameters:
            yield from _table("Parameter", "In", "Type", "Meaning", rows=parameters)


def _operations(document: Mapping[str, Any], operations: Mapping[str, Any]) -> Iterator[list[str]]:
    for method in _METHODS:
        if method in operations:
            operation = operations[method]
            content = operation.get("requestBody", {}).get("content", {})
            responses = (
                f"{status}: {_resolved(document, response).get('description', '')}"
                for status, response in operation.get("responses", {}).items()
            )
            yield [method.upper(), operation.get("summary", ""), _types(content), "<br>".join(map(_cell, responses))]


def _parameters(document: Mapping[str, Any], operations: Mapping[str, Any]) -> Iterator[list[str]]:
    seen: set[tuple[str, str]] = set()
    every = [*operations.get("parameters", ())]
    for method in _METHODS:
        every += operations.get(method, {}).get("parameters", ())
    for each in every:
        parameter = _resolved(document, each)
        key = (parameter["name"], parameter["in"])
        if key not in seen:
            seen.add(key)
            yield [f"`{key[0]}`", key[1], _type(parameter.get("schema", {})), parameter.get("description", "")]


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## Schemas\n"
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        yield f"### {name}\n"
        yield from _members(schema)


def _channels(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## Subjects\n"
    rows = []
    for name, channel in document["channels"].items():
        address = channel.get("address")
        messages = ", ".join(_anchor(message["$ref"]) for message in channel.get("messages", {}).values())
        rows.append([f"`{address}`" if address else f"(the reply: {name})", channel.get("description", ""), messages])
    yield from _table("Subject", "Purpose", "Messages", rows=rows)


def _anchor(reference: str) -> str:
    name = reference.rpartition("/")[2]
    return f"[{name}](#{name.lower()})"


def _messages(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## Messages\n"
    for name, message in document["components"]["messages"].items():
        yield f"### {name}\n"
        content_type = message.get("contentType", document.get("defaultContentType", "application/msgpack"))
        yield f"Content type `{content_type}`. {_line(message.get('summary', message.get('description', '')))}\n"
        headers = message.get("headers", {})
        if headers.get("properties"):
            yield "Headers:\n"
            yield from _members(headers)
        yield from _members(message.get("payload", {}))


def _members(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    rows = [
        [f"`{name}`", _type(member), "yes" if name in required else "", member.get("description", "")]
        for name, member in schema.get("properties", {}).items()
    ]
    if rows:
        yield from _table("Member", "Type", "Required", "Meaning", rows=rows)
    elif schema.get("description"):
        yield f"{_line(schema['description'])}\n"


def _resolved(document: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in node:
        return node
    found: Any = document
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    resolved: Mapping[str, Any] = found
    return resolved


def _types(content: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in content)


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return " or ".join(_type(each) for each in schema[key])
    kind = schema.get("type", "any")
    kind = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{kind} of {_type(schema['items'])}" if "items" in schema else kind


def _table(*heads: str, rows: Any) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell if "<br>" in cell else _cell(cell) for cell in row) + " |"
    yield ""


def _cell(text: str) -> str:
    """Text for a table: pipes are escaped, and angle brackets outside code."""
    parts = _line(text).replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _line(text: str) -> str:
    return " ".join(str(text).split())
