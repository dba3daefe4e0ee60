"""The smallest operation that turns one text into another. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from broker_plane.sessions.alignment import Effort, align
from broker_plane.sessions.text_ops import Op
from broker_plane.sessions.text_walk import append, trim

MOST_EDITS: Final = 200
"""Up to this many inserted and deleted code points the operation is the smallest; the effort grows with its square."""

_MOST_STEPS = 20 * MOST_EDITS**2
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")

Piece = tuple[str, str]
"""A text of the old side, and what is in its place on the new side. Equal ones are kept."""


def from_texts(old: str, new: str) -> Op:
    """The operation that turns `old` into `new`.

    It is the smallest one (Myers 1986) if that needs at most MOST_EDITS edits, and else found line by line and word by
    word. The effort is bounded; what cannot be compared within it is replaced.
    """
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    op: Op = []
    append(op, head)
    for before, after in _Comparison().pieces(old[head : len(old) - tail], new[head : len(new) - tail]):
        if before == after:
            append(op, len(before))
        else:
            append(op, {"d": before})
            append(op, after)
    return trim(op)


def trimmed(op: Op) -> Op:
    """The operation without the text that a replacement removes and inserts again at its ends."""
    result: Op = []
    at = 0
    while at < len(op):
        match op[at : at + 2]:
            case [{"d": str(old)}, str(new)] | [str(new), {"d": str(old)}]:
                head = _common(old, new)
                tail = _common(old[head:][::-1], new[head:][::-1])
                kept = old[head : len(old) - tail]
                for each in (head, {"d": kept}, new[head : len(new) - tail], tail):
                    append(result, each)
                at += 2
            case _:
                append(result, op[at])
                at += 1
    return trim(result)


def _common(first: str, second: str) -> int:
    """The length of the beginning that both have."""
    low, high = 0, min(len(first), len(second))
    if first[:high] == second[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


class _Comparison:
    """Compares two texts with a bounded effort."""

    def __init__(self) -> None:
        self._steps = _MOST_STEPS
        self._effort = Effort()

    def pieces(self, old: str, new: str) -> Iterator[Piece]:
        """What is kept and what is replaced, in order."""
        if (smallest := self._smallest(old, new)) is not None:
            yield from smallest
            return
        for before, after in self._blocks(old.splitlines(keepends=True), new.splitlines(keepends=True)):
            if before == after or not before or not after:
                yield "".join(before), "".join(after)
            elif len(before) == len(after):
                for pair in zip(before, after, strict=True):
                    yield from self._words(*pair)
            else:
                yield from self._words("".join(before), "".join(after))

    def _words(self, old: str, new: str) -> Iterator[Piece]:
        """The pieces of lines that differ."""
        if (smallest := self._smallest(old, new)) is not None:
            yield from smallest
            return
        for before, after in self._blocks(_WORDS.findall(old), _WORDS.findall(new)):
            yield "".join(before), "".join(after)

    def _smallest(self, old: str, new: str) -> Iterable[Piece] | None:
        if not old or not new or old == new:
            return [(old, new)]
        if self._steps <= 0:
            return None
        found, edits = _myers(old, new)
        self._steps -= edits * edits
        return found

    def _blocks(self, old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        """Equal runs of both sides, and between them what is in the place of what."""
        for block in align(old, new, self._effort):
            yield old[block.start : block.end], new[block.new_start : block.new_end]


def _myers(old: str, new: str) -> tuple[list[Piece] | None, int]:
    """The shortest edit script, if it is not too long, from the greedy algorithm; and how many edits were tried."""
    if abs(len(old) - len(new)) > MOST_EDITS:
        return None, 0
    furthest = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(MOST_EDITS + 1):
        trace.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            x = _step(furthest, diagonal, edits)
            y = x - diagonal
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            furthest[diagonal] = x
            if x >= len(old) and y >= len(new):
                return _script(old, new, trace), edits
    return None, MOST_EDITS


def _step(furthest: dict[int, int], diagonal: int, edits: int) -> int:
    """How far a path gets with one more edit: down, which inserts, or to the right, which deletes."""
    down = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
    return furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1


def _script(old: str, new: str, trace: list[dict[int, int]]) -> list[Piece]:
    pieces: list[Piece] = []
    x, y = len(old), len(new)
    for edits in range(len(trace) - 1, 0, -1):
        furthest, diagonal = trace[edits], x - y
        down = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
        before = diagonal + 1 if down else diagonal - 1
        from_x = furthest[before]
        from_y = from_x - before
        start = (from_x, from_y + 1) if down else (from_x + 1, from_y)
        pieces.append((old[start[0] : x], new[start[1] : y]))
        pieces.append(("", new[from_y]) if down else (old[from_x], ""))
        x, y = from_x, from_y
    pieces.append((old[:x], new[:y]))
    return pieces[::-1]
