"""Column names as people write them: a comma list, or a JSON array for names with commas or outer blanks. Pure.

`parse_names` keeps the parts of a comma list as written, because only somebody who knows the columns can tell the
column ` close` from a blank after a comma; `resolved` does that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from broker_plane.errors import SelectorError
from broker_plane.wire.exact_json import MALFORMED, loads

NAMES_HELP = "a comma list, or a JSON array of names"


class ExactNames(list[str]):
    """Names from a JSON array: their blanks and commas are part of them."""


def repeated_name(names: Iterable[str]) -> str | None:
    """The first of the names that occurs more than once; None if all differ. In linear time: headers are untrusted."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def parse_names(text: str, what: str = "columns") -> list[str]:
    """The parts of a comma list, as written and without blank ones, or the names of a JSON array.

    Raises:
        SelectorError: the array is not a list of names, or a name occurs twice.
    """
    names = _array(text, what) if text.strip().startswith("[") else [part for part in text.split(",") if part.strip()]
    if len(set(names)) < len(names):
        raise SelectorError(f"{what} names a column twice")
    return names


def resolved(parts: Sequence[str], columns: Collection[str]) -> list[str]:
    """The columns that `parts` name, in order. Outer blanks are removed from parts of a comma list that name no column.

    A part is the column with exactly that name; else the one without the outer blanks; else the only one that differs
    in outer blanks; else the beginning of a name with commas, whose rest are the next parts.

    Raises:
        SelectorError: they name a column twice.
    """
    known = dict.fromkeys(columns)
    found: list[str] = []
    place = 0
    while place < len(parts):
        name, taken = _next(parts, place, known)
        found.append(name)
        place += taken
    if len(set(found)) < len(found):
        raise SelectorError("columns names a column twice")
    return found


def _next(parts: Sequence[str], place: int, columns: Collection[str]) -> tuple[str, int]:
    part = parts[place]
    name = one_of(part, columns)
    if name is not None:
        return name, 1
    if isinstance(parts, ExactNames):
        return part, 1
    for stop in range(place + 2, len(parts) + 1):
        name = one_of(",".join(parts[place:stop]), columns)
        if name is not None:
            return name, stop - place
    return part.strip() or part, 1


def one_of(name: str, columns: Collection[str]) -> str | None:
    """The column that `name` means; None if there is none, or several that differ only in blanks."""
    if name in columns:
        return name
    bare = name.strip()
    if bare in columns:
        return bare
    near = [column for column in columns if column.strip() == bare]
    return near[0] if bare and len(near) == 1 else None


def _array(text: str, what: str) -> list[str]:
    try:
        names = loads(text)
    except MALFORMED as error:
        raise SelectorError(f"{what} looks like a JSON array, but is not valid JSON: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SelectorError(f"{what} is a comma list or a JSON array of column names")
    return ExactNames(names)
