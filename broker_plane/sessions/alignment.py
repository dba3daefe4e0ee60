"""Finds what two sequences have in common, in bounded time. Pure.

difflib compares every item with every equal one, which takes minutes for long sequences with many repetitions. So long
ones are first cut at the items that each side has exactly once (patience diff); difflib gets the gaps between these.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, NamedTuple

MOST_PAIRS: Final = 1_000_000
"""Sequences with more pairs of items than this are cut first."""


MOST_STEPS: Final = 20_000_000
"""Sequences for which difflib may take more steps than this are cut first as well."""


@dataclass(slots=True)
class Effort:
    """How much may still be compared. Everything beyond that counts as replaced."""

    pairs: int = 2 * MOST_PAIRS
    steps: int = MOST_STEPS


class Aligned(NamedTuple):
    """The items from `start` to `end` of the old side, and what is in their place on the new side."""

    start: int
    end: int
    new_start: int
    new_end: int
    equal: bool


def align(old: Sequence[Hashable], new: Sequence[Hashable], effort: Effort) -> list[Aligned]:
    """The blocks of two sequences, in order; together they cover both."""
    blocks: list[Aligned] = []
    at = new_at = 0
    for place, new_place in [*_anchors(old, new), (len(old), len(new))]:
        found = _gap(old[at:place], new[new_at:new_place], effort)
        blocks += [Aligned(at + a, at + b, new_at + c, new_at + d, equal) for a, b, c, d, equal in found]
        if place < len(old) and new_place < len(new):
            blocks.append(Aligned(place, place + 1, new_place, new_place + 1, True))
        at, new_at = place + 1, new_place + 1
    return list(_joined(blocks))


def _anchors(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Places of items that each side has once, in an order that both have; empty for short sequences."""
    if len(old) * len(new) <= MOST_PAIRS and most_steps(old, new) <= MOST_STEPS:
        return []
    counts, new_counts = Counter(old), Counter(new)
    places = {item: place for place, item in enumerate(new) if new_counts[item] == 1}
    pairs = [(place, places[item]) for place, item in enumerate(old) if counts[item] == 1 and item in places]
    return _longest_increasing(pairs)


def _longest_increasing(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest part of `pairs`, which are in order of their first numbers, whose second numbers are in order too."""
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for index, (_, number) in enumerate(pairs):
        length = bisect_left(ends, number)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [number]
        last[length : length + 1] = [index]
    found: list[tuple[int, int]] = []
    index = last[-1] if last else -1
    while index >= 0:
        found.append(pairs[index])
        index = before[index]
    return found[::-1]


def _gap(old: Sequence[Hashable], new: Sequence[Hashable], effort: Effort) -> list[Aligned]:
    """The blocks between two anchors."""
    shorter = min(len(old), len(new))
    head = next((place for place in range(shorter) if old[place] != new[place]), shorter)
    rest = shorter - head
    tail = next((back for back in range(rest) if old[-1 - back] != new[-1 - back]), rest)
    end, new_end = len(old) - tail, len(new) - tail
    blocks = [Aligned(0, head, 0, head, True)]
    pairs = (end - head) * (new_end - head)
    if 0 < pairs <= effort.pairs and (steps := most_steps(old[head:end], new[head:new_end])) <= effort.steps:
        effort.pairs -= pairs
        effort.steps -= steps
        matcher = SequenceMatcher(None, old[head:end], new[head:new_end], autojunk=False)
        for what, a, b, c, d in matcher.get_opcodes():
            blocks.append(Aligned(head + a, head + b, head + c, head + d, what == "equal"))
    else:
        blocks.append(Aligned(head, end, head, new_end, False))
    blocks.append(Aligned(end, len(old), new_end, len(new), True))
    return blocks


def most_steps(old: Sequence[Hashable], new: Sequence[Hashable]) -> int:
    """The most that difflib may do: for each block that it finds, it visits all pairs of equal items again."""
    counts, new_counts = Counter(old), Counter(new)
    return sum(number * new_counts[item] for item, number in counts.items()) * min(len(old), len(new))


def _joined(blocks: list[Aligned]) -> Iterator[Aligned]:
    """The blocks without empty ones; neighbours of one sort are joined."""
    current: Aligned | None = None
    for block in blocks:
        if block.start == block.end and block.new_start == block.new_end:
            continue
        if current is not None and current.equal == block.equal:
            current = Aligned(current.start, block.end, current.new_start, block.new_end, block.equal)
        else:
            if current is not None:
                yield current
            current = block
    if current is not None:
        yield current
