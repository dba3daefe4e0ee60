"""What an author's function returns, and what its return annotation means to a framework."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from broker_plane.tabular.arrow import is_table
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tabular.rows import named_row
from broker_plane.tools.signature import Function, bare_annotation, name_of
from broker_plane.wire.exact_json import loads

_BYTES = (bytes, bytearray, memoryview, Path)
_STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator, Iterator, Iterable, Generator)
_TABLES = frozenset({"polars", "pandas", "pyarrow", "duckdb", "_duckdb", "sqlite3", "psycopg"})
"""Packages whose classes are tables, columns and cursors, and mean nothing to pydantic."""


def is_bytes(data: Any) -> bool:
    """Whether `data` becomes an opaque body."""
    return isinstance(data, _BYTES)


def is_session(data: Any) -> bool:
    """Whether `data` is a session that was created; nothing is imported to find out."""
    module = sys.modules.get("broker_plane.runtime.session_offers")
    return module is not None and isinstance(data, module.CreatedSession)


def is_rows(data: Any) -> bool:
    """Whether `data` has rows: a table, a list of rows or scalars, or an iterator of them."""
    if is_table(data):
        return True
    if isinstance(data, (list, tuple)):
        return not is_single_row(data) and all(map(_may_be_row, data[:1]))
    if isinstance(data, (str, dict)) or hasattr(type(data), "model_dump"):
        return False
    return isinstance(data, (AsyncIterable, Iterable))


def is_single_row(data: Any) -> bool:
    """Whether a tuple is a named one, which is one row."""
    return isinstance(data, tuple) and hasattr(type(data), "_fields")


def _may_be_row(item: Any) -> bool:
    """Whether an item is data: content blocks, images and other objects of a framework are not."""
    return not type(item).__module__.partition(".")[0].startswith(("mcp", "fastmcp"))


def rows_to_show(value: Any) -> Any:
    """What a list has as the text of a plain result: rows by name where they have names, as an array of JSON objects.

    A named tuple is one row.
    """
    if is_single_row(value):
        return named_row(value)
    if set(map(type, value)) <= {dict}:
        return value
    return [item if (row := _named(item)) is None else row for item in value]


def _named(item: Any) -> Any:
    return None if isinstance(item, (str, bytes, int, float)) else named_row(item)


def wire_value(value: Any) -> Any:
    """A value as the JSON that its text has, for frameworks that cannot serialize it."""
    if isinstance(value, (list, tuple)):
        return loads(json_bytes(rows_to_show(value)))
    row = _named(value)
    return loads(json_bytes(value if row is None else row))


def own_function(function: Function) -> tuple[bool, Function]:
    """Whether `function` always returns opaque bodies, and a function of its name and return type for the framework.

    Iterators and tables are lists there, as they are in a plain result.
    """
    returns = inspect.signature(function, eval_str=True).return_annotation
    bare = bare_annotation(returns)
    opaque = isinstance(bare, type) and issubclass(bare, _BYTES)

    async def own() -> Any:
        """Never called: the framework reads its signature."""

    meant = Any if opaque else _meant(returns)
    own.__name__ = own.__qualname__ = name_of(function)
    own.__module__ = function.__module__
    own.__signature__ = inspect.Signature([], return_annotation=meant)  # type: ignore[attr-defined]
    own.__annotations__ = {} if meant is inspect.Signature.empty else {"return": meant}
    return opaque, own


def _meant(annotation: Any) -> Any:
    bare = bare_annotation(annotation)
    kind = get_origin(bare) or bare
    if not isinstance(kind, type):
        return annotation
    if kind in _STREAMS:
        items = get_args(bare)
        return list[items[0]] if items else list[Any]  # type: ignore[valid-type]
    home = kind.__module__.partition(".")[0]
    if home == "broker_plane":  # a session, whose result is an invitation
        return Any
    if home == "numpy":
        return list[Any]
    return list[dict[str, Any]] if home in _TABLES else annotation
