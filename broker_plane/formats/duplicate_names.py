"""Reject JSON objects with duplicate names: parsers keep only the last one, which would silently lose a column."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from broker_plane.errors import TabularError

_SPACED = re.compile(rb'"[ \t\r\n]+:')


def check_names(what: str, raw: bytes, value: Any) -> None:
    """Raise TabularError if an object in `raw`, parsed as `value`, has a duplicate name; `what` is the place."""
    twice = duplicate_name(raw, value)
    if twice is not None:
        raise TabularError(f"{what} has an object with two values for {twice!r}; rename one of them")


def duplicate_name(raw: bytes, value: Any) -> str | None:
    """The first name that an object in `raw`, parsed as `value`, has twice; None if there is none."""
    # Usually each name ends in these two characters and no text contains them: then counting is enough.
    if raw.count(b'":') == _members(value) and not _SPACED.search(raw):
        return None
    found: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            found.append(next(name for place, name in enumerate(names) if name in names[:place]))

    with suppress(RecursionError):  # encoding rejects values that are nested this deeply
        json.loads(raw, object_pairs_hook=collect, parse_int=str, parse_float=str)
    return found[0] if found else None


def _members(value: Any) -> int:
    """The number of names in `value`, without recursion."""
    count = 0
    values = [value]
    while values:
        inner: list[Any] = []
        for each in values:
            if type(each) is dict:
                count += len(each)
                inner += [member for member in each.values() if type(member) in (dict, list)]
            elif type(each) is list:
                inner += [member for member in each if type(member) in (dict, list)]
        values = inner
    return count
