"""The limit on nested lists and maps in a value, and a walk over a value that needs no stack. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

MAX_DEPTH = 200
"""Levels of lists and maps in one value of a row. Every JSON reader and writer in use takes these and the few levels of
the messages around them; some (orjson, pydantic) stop at 255."""

_CONTAINERS = frozenset({dict, list})


def levels(values: Sequence[Any]) -> Iterator[tuple[Sequence[Any], set[type]]]:
    """The values, then the members of the lists and dicts among them, and so on; each level with its types."""
    while values:
        kinds = set(map(type, values))
        yield values, kinds
        found = kinds & _CONTAINERS
        if not found:
            return
        if kinds == {list}:
            values = list(chain.from_iterable(values))
        elif kinds == {dict}:
            values = list(chain.from_iterable(map(dict.values, values)))
        else:
            values = [member for value in values if type(value) in _CONTAINERS for member in _members(value)]


def _members(value: Any) -> Any:
    return value.values() if isinstance(value, Mapping) else value
