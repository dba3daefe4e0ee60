"""A text operation as the spans that it replaces. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from broker_plane.sessions.text_ops import Op
from broker_plane.sessions.text_walk import Component, append, length, trim


@dataclass(frozen=True, slots=True)
class Span:
    """The text from `start` to `end`, in code points of the old text, becomes `inserted`."""

    start: int
    end: int
    inserted: str

    @property
    def only_inserts(self) -> bool:
        return self.start == self.end


def spans(op: Sequence[Component]) -> list[Span]:
    """The spans of an operation, in order; no two of them touch."""
    found: list[Span] = []
    at, start, inserted = 0, -1, ""
    for component in [*op, 1]:
        if isinstance(component, int):
            if start >= 0:
                found.append(Span(start, at, inserted))
            start, inserted = -1, ""
            at += component
            continue
        start = at if start < 0 else start
        if isinstance(component, str):
            inserted += component
        else:
            at += length(component)
    return found


def without(op: Sequence[Component], done: Collection[Span]) -> Op:
    """The operation without those spans that are replaced by the same text in `done` already."""
    if not done or not any(each in done for each in spans(op)):
        return list(op)
    left: Op = []
    kept: Op = []
    at, start = 0, 0
    for component in [*op, 1]:
        if not isinstance(component, int):
            kept.append(component)
            at += 0 if isinstance(component, str) else length(component)
            continue
        inserted = "".join(each for each in kept if isinstance(each, str))
        same = bool(kept) and Span(start, at, inserted) in done
        for each in [at - start] if same else kept:
            append(left, each)
        append(left, component)
        at += component
        kept, start = [], at
    return trim(left)
