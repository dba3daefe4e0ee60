"""A type whose JSON schema is that of a tool's results, its own and ours.

Frameworks derive output schemas from return annotations. A schema with `$ref` must come from pydantic's own generator,
which knows no other pointers than those that it made; any other is returned as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from broker_plane.tools.schemas import URL, widened

OFFER: dict[str, Any] = {
    "type": "object",
    "properties": {URL: {"type": "string"}},
    "required": [URL],
}
"""The schema of results that are always published."""


def schema_model(schema: dict[str, Any] | None, annotation: Any) -> type[BaseModel]:
    """A model that accepts any object, with `schema` widened as its JSON schema; `annotation` is the type behind it."""
    if schema is None or _has_pointers(schema):
        inner = TypeAdapter(annotation).core_schema
        wraps = bool(schema) and "x-fastmcp-wrap-result" in cast("dict[str, Any]", schema)
        return _model(lambda handler: _generated(handler, inner, wraps))
    found = schema if schema == OFFER else widened(schema)
    return _model(lambda handler: dict(found))


def _model(schema: Callable[[Any], dict[str, Any]]) -> type[BaseModel]:
    class Result(BaseModel):
        model_config = ConfigDict(extra="allow")

        @model_validator(mode="before")
        @classmethod
        def _any(cls, value: Any) -> Any:
            """The structured content of a root model may be a list; frameworks only validate it."""
            return value if isinstance(value, dict) else {}

        @classmethod
        def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
            return schema(handler)

    return Result


def _generated(handler: Any, inner: Any, wraps: bool) -> dict[str, Any]:
    found = handler(inner)
    if wraps:
        wrapped = {"type": "object", "properties": {"result": found}, "required": ["result"]}
        return widened({**wrapped, "x-fastmcp-wrap-result": True})
    return widened(dict(handler.resolve_ref_schema(found)))


def _has_pointers(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "$ref" in schema or any(map(_has_pointers, schema.values()))
    return isinstance(schema, list) and any(map(_has_pointers, schema))
