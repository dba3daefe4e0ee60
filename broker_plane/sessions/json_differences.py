"""A small JSON Patch that turns one document into another. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from broker_plane.sessions.alignment import Effort, align
from broker_plane.sessions.canonical import plain
from broker_plane.sessions.json_patch import MOST_OPERATIONS, Operation, Patch, Tokens, pointer


def from_documents(old: Any, new: Any) -> Patch:
    """The patch, in normal form, that turns `old` into `new`. Empty if they are equal; 1 and 1.0 are, 1 and true not.

    Members are compared one by one. Of two lists the items that both have, in order, are kept.
    Instead of more than MOST_OPERATIONS operations it is one that replaces the document.
    """
    patch = list(islice(_differences((), old, new, Effort()), MOST_OPERATIONS + 1))
    return patch if len(patch) <= MOST_OPERATIONS else [{"op": "replace", "path": "", "value": new}]


def same(first: Any, second: Any) -> bool:
    """Whether two JSON values are equal."""
    return type(first) is type(second) and first == second and _key(first) == _key(second)


def _key(value: Any) -> bytes:
    raw = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    # Only a whole number that is a float, such as 1.0, has another form as an int.
    return orjson.dumps(plain(value), option=orjson.OPT_SORT_KEYS) if b".0" in raw else raw


def _differences(parts: Tokens, old: Any, new: Any, effort: Effort) -> Iterator[Operation]:
    if old is new:
        return
    match old, new:
        case dict(), dict():
            yield from _members(parts, old, new, effort)
        case list(), list():
            yield from _items(parts, old, new, effort)
        case _ if _key(old) != _key(new):
            yield {"op": "replace", "path": pointer(parts), "value": new}


def _members(parts: Tokens, old: dict[str, Any], new: dict[str, Any], effort: Effort) -> Iterator[Operation]:
    for name in old:
        if name not in new:
            yield {"op": "remove", "path": pointer((*parts, name))}
    for name, value in new.items():
        if name in old:
            yield from _differences((*parts, name), old[name], value, effort)
        else:
            yield {"op": "add", "path": pointer((*parts, name)), "value": value}


def _items(parts: Tokens, old: list[Any], new: list[Any], effort: Effort) -> Iterator[Operation]:
    keys = [_key(each) for each in old], [_key(each) for each in new]
    shift = 0
    for a, b, c, d, equal in align(*keys, effort):
        if equal:
            continue
        paired = min(b - a, d - c)
        for offset in range(paired):
            yield from _differences((*parts, str(a + shift + offset)), old[a + offset], new[c + offset], effort)
        place = a + shift + paired
        for _ in range(b - a - paired):
            yield {"op": "remove", "path": pointer((*parts, place))}
        for offset in range(paired, d - c):
            yield {"op": "add", "path": pointer((*parts, place + offset - paired)), "value": new[c + offset]}
        shift += (d - c) - (b - a)
