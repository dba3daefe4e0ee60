"""Converts a pulled body to the type that a tool's input schema requires, or refuses it. Pure."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from broker_plane.errors import SelectorError
from broker_plane.proxy.messages import mapping
from broker_plane.shapes.recognise import recognise_text
from broker_plane.shapes.table import Table
from broker_plane.tabular.json_values import json_bytes, json_value
from broker_plane.wire.exact_json import MALFORMED, loads

Schema = Mapping[str, Any]
_CODERS: dict[str, Callable[[bytes], bytes]] = {"base64": b64encode, "base64url": urlsafe_b64encode}
_TEXTS = ("application/x-ndjson", "application/jsonl", "application/yaml", "application/toml", "application/javascript",
          "application/sql", "application/xml")  # fmt: skip
_MAX_STEPS = 200
_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def fitted(body: Any, media_type: str, argument: str, schema: Any) -> Any:
    """The value of `argument` for a tool with the input schema `schema`. `body` is a list of JSON rows, or bytes.

    Raises:
        SelectorError: the body cannot be converted to a type that the argument accepts.
    """
    wanted = _wanted(argument, schema)
    kinds = _kinds_of(wanted)
    if isinstance(body, bytes):
        return _of_bytes(body, media_type, argument, wanted, kinds)
    if not kinds or "array" in kinds:
        return body
    if "object" in kinds and len(body) == 1:
        return body[0]
    if "string" in kinds and not _coders(wanted):
        return json_bytes(body).decode()
    raise _refused(argument, kinds, f"a table of {len(body)} rows")


def rows_become_text(argument: str, schema: Any) -> bool:
    """Whether `argument` gets rows as the text of a JSON array."""
    wanted = _wanted(argument, schema)
    kinds = _kinds_of(wanted)
    return "string" in kinds and "array" not in kinds and not _coders(wanted)


def _wanted(argument: str, schema: Any) -> list[Schema]:
    """The schemas that may apply to the argument."""
    root = mapping(schema)
    return list(_alternatives(mapping(root.get("properties")).get(argument, {}), root))


def _kinds_of(wanted: list[Schema]) -> set[str]:
    return {kind for found in wanted for kind in _kinds(found)}


def _of_bytes(raw: bytes, media_type: str, argument: str, wanted: list[Schema], kinds: set[str]) -> Any:
    if coders := _coders(wanted):
        return coders[0](raw).decode()
    kind, _, parameters = media_type.lower().partition(";")
    kind = kind.strip()
    is_json = kind == "application/json" or kind.endswith("+json")
    if not (is_json or kind.startswith("text/") or kind.endswith("+xml") or kind in _TEXTS):
        raise _refused(argument, kinds, f"{kind or 'of an unknown type'}, which is not text")
    text = _decoded(raw, parameters, argument)
    if is_json or (kinds and "string" not in kinds):
        value = _json(text)
        if value is not _NOTHING and _is_of(value, kinds):
            return value
        if "array" in kinds and isinstance(found := recognise_text(text, media_type=media_type), Table):
            return json_value(found.rows)
    if "string" in kinds or (not kinds and not is_json):
        return text
    raise _refused(argument, kinds, f"{kind}, whose content has another type")


def _decoded(raw: bytes, parameters: str, argument: str) -> str:
    charset = parameters.partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
    if charset in ("utf-8", "utf8", "us-ascii", "ascii"):
        try:
            return raw.decode()
        except UnicodeDecodeError:
            pass
    raise SelectorError(f"{argument} takes text, and this body is not UTF-8; pass it to a tool that takes bytes")


_NOTHING = object()


def _json(text: str) -> Any:
    try:
        return loads(text)
    except MALFORMED:
        return _NOTHING


def _is_of(value: Any, kinds: set[str]) -> bool:
    """Whether a JSON value has one of the types other than text; without types, any value does."""
    if not kinds:
        return True
    name = "null" if value is None else _NAMES.get(type(value), "")
    if name == "string":
        return False  # a string argument gets the text itself
    whole = isinstance(value, float) and value.is_integer()
    return name in kinds or (name == "integer" and "number" in kinds) or (whole and "integer" in kinds)


def _alternatives(schema: Any, root: Schema, steps: list[int] | None = None) -> Iterator[Schema]:
    """The schemas that may apply to a value: behind references, and each arm of anyOf, oneOf and allOf."""
    steps = [0] if steps is None else steps
    steps[0] += 1
    if not isinstance(schema, Mapping) or steps[0] > _MAX_STEPS:
        return
    yield schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _alternatives(_behind(reference, root), root, steps)
    for name in ("anyOf", "oneOf", "allOf"):
        arms = schema.get(name)
        for arm in arms if isinstance(arms, list) else ():
            yield from _alternatives(arm, root, steps)


def _behind(reference: str, root: Schema) -> Any:
    """The target of a pointer into the same document (RFC 6901)."""
    if not reference.startswith("#/"):
        return None
    found: Any = root
    for part in reference[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(key)] if key.isdecimal() and int(key) < len(found) else None
        else:
            found = mapping(found).get(key)
    return found


def _kinds(schema: Schema) -> Iterator[str]:
    kind = schema.get("type")
    yield from (kind,) if isinstance(kind, str) else (item for item in kind or () if isinstance(item, str))
    if schema.get("nullable") is True:
        yield "null"
    if kind is None:
        values = (
            schema["enum"] if isinstance(schema.get("enum"), list) else [schema[c] for c in ("const",) if c in schema]
        )
        yield from ("null" if value is None else _NAMES.get(type(value), "object") for value in values)
        if any(name in schema for name in ("properties", "additionalProperties", "patternProperties")):
            yield "object"
        if "items" in schema or "prefixItems" in schema:
            yield "array"


def _coders(wanted: list[Schema]) -> list[Callable[[bytes], bytes]]:
    """The encoders of bytes that the schema names."""
    return [_CODERS[name] for item in wanted if (name := str(item.get("contentEncoding")).lower()) in _CODERS]


def _refused(argument: str, kinds: set[str], found: str) -> SelectorError:
    takes = " or ".join(sorted(kinds - {"null"})) or "JSON or text"
    return SelectorError(
        f"{argument} takes {takes}, and this body is {found}; pass it to a tool that accepts such a body"
    )
