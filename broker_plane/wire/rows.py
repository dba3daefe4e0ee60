"""Sets of `_row_id`s as ranges: the rows of a `rows` caveat, and the rows of a body that a grant shows. Pure."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from broker_plane.errors import SelectorError
from broker_plane.wire.urls import quoted

MAX_ROW = 1 << 53
_PART = re.compile(r"(\d{1,15})(?:\s*-\s*(\d{1,15}))?\Z", re.ASCII)


@dataclass(frozen=True, eq=False)
class RowSet:
    """Half-open ranges, sorted and disjoint: range `n` goes from `starts[n]` to `stops[n]`."""

    starts: array[int]
    stops: array[int]

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return sum(self.stops) - sum(self.starts)

    def __contains__(self, row_id: int) -> bool:
        place = bisect_right(self.starts, row_id) - 1
        return place >= 0 and row_id < self.stops[place]

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.ranges():
            yield from range(start, stop)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowSet) and (self.starts, self.stops) == (other.starts, other.stops)

    def __hash__(self) -> int:
        return hash((self.starts.tobytes(), self.stops.tobytes()))

    def __and__(self, other: RowSet) -> RowSet:
        shared: list[tuple[int, int]] = []
        for start, stop in self.ranges():
            place = max(0, bisect_right(other.starts, start) - 1)
            while place < len(other.starts) and other.starts[place] < stop:
                shared.append((max(start, other.starts[place]), min(stop, other.stops[place])))
                place += 1
        return of_ranges(shared)

    def ranges(self) -> Iterator[tuple[int, int]]:
        return zip(self.starts, self.stops, strict=True)

    def first(self, count: int) -> RowSet:
        """The `count` lowest ids."""
        kept = []
        for start, stop in self.ranges():
            if count <= 0:
                break
            kept.append((start, min(stop, start + count)))
            count -= stop - start
        return of_ranges(kept)

    def overlaps(self, start: int, stop: int) -> bool:
        """Whether an id is in `start` to `stop`, half-open."""
        place = bisect_right(self.starts, start) - 1
        if place >= 0 and start < self.stops[place]:
            return start < stop
        return place + 1 < len(self.starts) and self.starts[place + 1] < stop

    def places(self, ids: Sequence[int]) -> list[int]:
        """The positions of `ids` that are in the set."""
        if not (isinstance(ids, range) and ids.step == 1):
            return [place for place, row_id in enumerate(ids) if row_id in self]
        found: list[int] = []
        number = max(0, bisect_right(self.starts, ids.start) - 1)
        while number < len(self.starts) and self.starts[number] < ids.stop:
            start, stop = max(self.starts[number], ids.start), min(self.stops[number], ids.stop)
            found.extend(range(start - ids.start, stop - ids.start))
            number += 1
        return found

    def pack(self) -> list[int]:
        """Gap, length, gap, length …: small numbers, because a grant has at most 1,024 characters."""
        numbers, end = [], 0
        for start, stop in self.ranges():
            numbers += [start - end, stop - start]
            end = stop
        return numbers

    def __str__(self) -> str:
        return ",".join(f"{start}-{stop - 1}" if stop - start > 1 else f"{start}" for start, stop in self.ranges())


def of_ranges(ranges: Iterable[tuple[int, int]]) -> RowSet:
    """The set of half-open ranges in any order; empty ones are dropped, adjacent ones are joined."""
    starts, stops = array("Q"), array("Q")
    for start, stop in sorted(ranges):
        if start >= stop:
            continue
        if stops and start <= stops[-1]:
            stops[-1] = max(stops[-1], stop)
        else:
            starts.append(start)
            stops.append(stop)
    return RowSet(starts, stops)


def of_ids(ids: Iterable[int]) -> RowSet:
    starts, stops = array("Q"), array("Q")
    for row_id in sorted(set(ids)):
        if stops and stops[-1] == row_id:
            stops[-1] += 1
        else:
            starts.append(row_id)
            stops.append(row_id + 1)
    return RowSet(starts, stops)


class RowSetBuilder:
    """Builds a set from groups of ids; groups in the order of the rows need no sorting at the end."""

    def __init__(self) -> None:
        self._starts, self._stops = array("Q"), array("Q")
        self._in_order = True

    def add(self, ids: Iterable[int]) -> None:
        """Add these ids."""
        group = of_ids(ids)
        if not group.starts:
            return
        self._in_order = self._in_order and (not self._stops or self._stops[-1] <= group.starts[0])
        self._starts.extend(group.starts)
        self._stops.extend(group.stops)

    def rows(self) -> RowSet:
        """The set of all ids that were added."""
        if self._in_order:
            return _joined(self._starts, self._stops)
        return of_ranges(zip(self._starts, self._stops, strict=True))


def _joined(starts: array[int], stops: array[int]) -> RowSet:
    """Ranges in order, with adjacent ones joined."""
    found = RowSet(array("Q"), array("Q"))
    for start, stop in zip(starts, stops, strict=True):
        if found.stops and found.stops[-1] == start:
            found.stops[-1] = stop
        else:
            found.starts.append(start)
            found.stops.append(stop)
    return found


def all_rows(count: int) -> RowSet:
    return of_ranges([(0, count)])


def unpack_rows(numbers: Any) -> RowSet | None:
    """The set that `pack` encoded; None for anything else."""
    if not isinstance(numbers, list) or len(numbers) % 2 or any(type(number) is not int for number in numbers):
        return None
    ranges: list[tuple[int, int]] = []
    end = 0
    for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
        if gap < 0 or length < 1 or (gap == 0 and ranges) or end + gap + length > MAX_ROW:
            return None
        ranges.append((end + gap, end + gap + length))
        end += gap + length
    return of_ranges(ranges)


def parse_rows(text: str) -> RowSet:
    """The set of a text such as `0-99,200`; both ends of a range are included.

    Raises:
        SelectorError: a part is neither a whole number nor a range of two.
    """
    ranges = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _PART.match(part)
        start, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if last < start:
            raise SelectorError(f"Rows are whole numbers and ranges such as 0-99,200; {quoted(part)} is neither")
        ranges.append((start, last + 1))
    return of_ranges(ranges)
