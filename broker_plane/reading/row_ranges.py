"""Which rows, lines, bytes or results a request names: ranges that the body's own numbers are looked up in. Pure."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from broker_plane.errors import SelectorError
from broker_plane.wire.bounds import MAX_SAFE_INT
from broker_plane.wire.rows import RowSet, of_ranges
from broker_plane.wire.urls import quoted

_PART = re.compile(r"(\d{1,15})\s*(?:(-)\s*(\d{1,15})?)?\Z", re.ASCII)


def parse_row_ranges(text: str) -> RowSet:
    """The numbers of a text such as `0-99,200,300-`: both ends are included, and a range without an end is open.

    Raises:
        SelectorError: a part is neither a whole number nor a range.
    """
    ranges = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _PART.match(part)
        if found is None:
            raise _wrong(part)
        start = int(found[1])
        stop = int(found[3]) + 1 if found[3] else MAX_SAFE_INT if found[2] else start + 1
        if stop <= start:
            raise _wrong(part)
        ranges.append((start, stop))
    if not ranges:
        raise _wrong(text)
    return of_ranges(ranges)


def shown_ranges(rows: RowSet) -> str:
    """The text that `parse_row_ranges` reads."""
    return ",".join(_shown(start, stop) for start, stop in rows.ranges())


def from_number(rows: RowSet, start: int) -> RowSet:
    """The numbers of `rows` from `start` on."""
    return of_ranges((max(start, low), high) for low, high in rows.ranges())


def before_number(rows: RowSet, stop: int) -> RowSet:
    """The numbers of `rows` below `stop`."""
    return of_ranges((low, min(stop, high)) for low, high in rows.ranges())


def first_ids(visible: RowSet, wanted: RowSet, most: int) -> array[int]:
    """The `most` lowest numbers that both sets have."""
    return array("Q", islice(shared_ids(visible, wanted), most))


def ids_at(visible: RowSet, start: int, stop: int) -> array[int]:
    """The numbers at positions `start` to `stop` of `visible`, half-open."""
    found: list[range] = []
    for low, high in visible.ranges():
        size = high - low
        if stop <= 0:
            break
        found.append(range(low + min(size, max(0, start)), low + min(size, stop)))
        start, stop = start - size, stop - size
    return array("Q", (number for each in found for number in each))


def shared_ids(visible: RowSet, wanted: RowSet) -> Iterator[int]:
    """The numbers that both sets have, in order."""
    for start, stop in wanted.ranges():
        yield from _within(visible, start, stop)


def _within(visible: RowSet, start: int, stop: int) -> Iterator[int]:
    place = max(0, bisect_right(visible.starts, start) - 1)
    while place < len(visible.starts) and visible.starts[place] < stop:
        yield from range(max(start, visible.starts[place]), min(stop, visible.stops[place]))
        place += 1


def _shown(start: int, stop: int) -> str:
    if stop >= MAX_SAFE_INT:
        return f"{start}-"
    return f"{start}" if stop == start + 1 else f"{start}-{stop - 1}"


def _wrong(part: str) -> SelectorError:
    return SelectorError(f"rows are numbers and ranges such as 10-20, 5, 3,7 or 30-; {quoted(part)} is neither")
