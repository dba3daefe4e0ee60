"""A JSON object that has a name twice: parsers keep the last of the two, and a column would be gone without a word."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from broker_plane.errors import TabularError

_SPACED = re.compile(rb'"[ \t\r\n]+:')


def check_names(what: str, raw: bytes, value: Any) -> None:
    """Raise TabularError where an object in `raw`, which was read as `value`, has a name twice; `what` is the place."""
    # As a rule each name ends in these two characters and no text holds them: then counting is enough.
    if raw.count(b'":') == _members(value) and not _SPACED.search(raw):
        return

    def found(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise TabularError(f"{what} has an object with two values for {twice!r}; rename one of them")

    with suppress(RecursionError):  # what is nested so deeply is refused when it is encoded
        json.loads(raw, object_pairs_hook=found, parse_int=str, parse_float=str)


def _members(value: Any) -> int:
    """How many names there are in `value`, level by level, however deep it is nested."""
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
