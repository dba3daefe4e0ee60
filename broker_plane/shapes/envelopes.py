"""The table in a parsed JSON value: the value itself, or one member of an envelope around it. Pure.

A table in an envelope is taken for the value only if no other member could be one, it has a name that tables have or is
most of the value, and the rest is small enough to be shown beside it. Nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from broker_plane.shapes import columnar, json_rows
from broker_plane.shapes.bounds import MAX_FIELDS_BYTES, are_few, size_of
from broker_plane.shapes.table import Found, joined

_DEPTH = 3
"""Levels of objects around a table."""

_RESULT = "result"
"""The member into which MCP SDKs put a return value that is not an object."""

NAMES = frozenset(
    [
        "rows",
        "items",
        "data",
        "results",
        "result",
        "records",
        "entries",
        "values",
        "value",
        "documents",
        "docs",
        "hits",
        "list",
        "objects",
        "elements",
        "features",
        "content",
        "body",
        "output",
        "response",
    ]
)
"""Names that tables have in envelopes, in lower case."""

_MOST_TABLES = 32
"""Among more tables, none is looked for."""

_SAMPLE_ROWS = 100
_SHARE = 4
_LEAST_ROWS = 2
"""A table under another name is this many times as large as the members beside it, and has as many rows."""

Finder = Callable[[Any], Found | None]
_FINDERS: dict[str, Finder] = {
    "geojson": json_rows.features,
    "pandas-table": columnar.pandas_table,
    "split": columnar.split,
    "columns": columnar.columns,
    "rows": json_rows.rows,
}
"""By kind, in order of precedence."""
_WHOLE: dict[str, Finder] = {"scalars": json_rows.scalars, "tuples": columnar.tuples}
"""Lists that are tables only as the whole value: within an envelope they are mostly something else."""


def table_in(value: Any, shape: str = "auto") -> Found | None:
    """The only table in `value`, of the kind `shape` if it names one."""
    if isinstance(value, dict) and set(value) == {_RESULT}:
        found = table_in(value[_RESULT], shape)
        return None if found is None else found.below(f"/{_RESULT}")
    if isinstance(value, list | dict) and (found := _whole(value, shape)) is not None:
        return found if are_few(found.fields) else None
    if not isinstance(value, dict):
        return None
    return _enveloped(value, shape)


def forced(value: Any, shape: str) -> Found | None:
    """As `table_in`, for a value of which the user says that it is a table: it may be empty."""
    found = table_in(value, shape)
    if found is not None:
        return found
    inner, pointer = (value[_RESULT], f"/{_RESULT}") if _is_result(value) else (value, "")
    finders: dict[str, Callable[..., Found | None]] = {
        "columns": columnar.columns,
        "split": columnar.split,
        "pandas-table": columnar.pandas_table,
    }
    if shape in finders and (empty := finders[shape](inner, empty=True)) is not None:
        return empty.below(pointer)
    return Found(shape, [], [], pointer) if inner == [] and shape in ("rows", "records", "scalars") else None


def _is_result(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {_RESULT}


def _whole(value: Any, shape: str) -> Found | None:
    """The table that the value itself is."""
    if shape == "records":
        shape = "rows"
    if shape in ("auto", "table"):
        return _first(value, _FINDERS | _WHOLE)
    finder = (_FINDERS | _WHOLE).get(shape)
    return None if finder is None else finder(value)


def _first(value: Any, finders: Mapping[str, Finder]) -> Found | None:
    for finder in finders.values():
        if (found := finder(value)) is not None:
            return found
    return None


def _enveloped(value: dict[str, Any], shape: str) -> Found | None:
    found = list(islice(_candidates(value, shape, _DEPTH), _MOST_TABLES + 1))
    if 1 < len(found) <= _MOST_TABLES:
        found = [each for each in found if _is_named(each)]
    if len(found) == 1:
        return _beside(value, found[0], shape)
    if len(value) == 1:
        ((name, member),) = value.items()
        only = _whole(member, shape) if isinstance(member, list) else None
        return None if only is None else only.below(_pointer(name))
    return None


def _candidates(value: Mapping[str, Any], shape: str, depth: int) -> Iterator[Found]:
    for name, member in value.items():
        if not member or not isinstance(member, list | dict):
            continue
        finder = _FINDERS.get(shape, json_rows.rows if shape == "records" else None)
        if shape in ("auto", "table", "envelope"):
            found = _first(member, _FINDERS)
        else:
            found = None if finder is None else finder(member)
        if found is not None:
            yield found.below(_pointer(name))
        elif isinstance(member, dict) and depth > 1:
            yield from (each.below(_pointer(name)) for each in _candidates(member, shape, depth - 1))


def _is_named(found: Found) -> bool:
    return found.kind not in ("rows", "envelope") or found.pointer.rpartition("/")[2].lower() in NAMES


def _beside(value: dict[str, Any], found: Found, shape: str) -> Found | None:
    """The table with the members around it, if they are few."""
    around = _without(value, _parts(found.pointer))
    size = size_of(around | found.fields)
    if size > MAX_FIELDS_BYTES:
        return None
    if shape == "auto" and size and not _is_named(found) and not _is_most(found, size):
        return None
    kind = "envelope" if found.kind == "rows" else found.kind
    return Found(kind, found.columns, found.rows, found.pointer, joined(found.fields, around), found.declared)


def _is_most(found: Found, beside: int) -> bool:
    """Whether a table is most of a value that has `beside` bytes more."""
    return len(found.rows) >= _LEAST_ROWS and size_of(found.rows[:_SAMPLE_ROWS]) >= _SHARE * beside


def _without(value: dict[str, Any], parts: list[str]) -> dict[str, Any]:
    """The value without the member at the end of a path, and without objects that have nothing else."""
    first, *rest = parts
    kept = {name: member for name, member in value.items() if name != first}
    if rest and (inner := _without(value[first], rest)):
        kept[first] = inner
    return kept


def escaped(name: str) -> str:
    """A member's name as it is written in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _pointer(name: str) -> str:
    return f"/{escaped(name)}"


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]
