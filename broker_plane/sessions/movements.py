"""How one change moves the regions of an artifact. Pure.

A text's change is read as edits: each replaces a span by a text. A region that shares characters with a replaced span
then has all of the new text, so that what marks a paragraph marks the paragraph that replaced it. In JSON and tables,
positions in lists move; whatever is removed leaves its region at the place that contained it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from broker_plane.sessions.regions import Region, content, pointer, tokens
from broker_plane.sessions.replicas.port import Value
from broker_plane.sessions.text_differences import from_texts


@dataclass(frozen=True, slots=True)
class TextEdit:
    """`inserted` replaces the span from `start` to `end` of the old text; in the new one it starts at `place`."""

    start: int
    end: int
    inserted: str
    place: int
    deleted: str = ""


@dataclass(frozen=True)
class TextMovement:
    """The edits of a text's change, in order; no two touch."""

    edits: tuple[TextEdit, ...]

    @cached_property
    def refined(self) -> TextMovement:
        """The same change in smaller edits: only what is different in the texts that replace each other."""
        components: list[Any] = []
        at = 0
        for edit in self.edits:
            components += [edit.start - at] if edit.start > at else []
            smaller = from_texts(edit.deleted, edit.inserted)
            left = len(edit.deleted) - sum(_taken(each) for each in smaller)
            components += [*smaller, *([left] if left else [])]
            at = edit.end
        return text_movement(components)


def _taken(component: Any) -> int:
    """The characters of the old text that a component skips or deletes."""
    if isinstance(component, int):
        return component
    return 0 if isinstance(component, str) else len(component["d"])


@dataclass(frozen=True, slots=True)
class PathMovement:
    """The operations of a JSON Patch (RFC 6902), and the artifact before them."""

    patch: Sequence[Mapping[str, Any]]
    before: Value


Movement = TextMovement | PathMovement


def text_movement(components: Sequence[Any]) -> TextMovement:
    """The movement of a text operation: numbers skip, strings are inserted, `{"d": text}` deletes."""
    return TextMovement(tuple(_edits(components)))


def _edits(components: Sequence[Any]) -> Iterator[TextEdit]:
    """Deletions and insertions at one place are one edit."""
    at = shift = 0
    start, inserted, deleted = -1, "", ""
    for component in [*components, 0]:
        if isinstance(component, int):
            if start >= 0:
                yield TextEdit(start, at, inserted, start + shift, deleted)
                shift += len(inserted) - (at - start)
            start, inserted, deleted = -1, "", ""
            at += component
            continue
        start = at if start < 0 else start
        if isinstance(component, str):
            inserted += component
        else:
            deleted += component["d"]
            at += len(component["d"])


def carry_region(region: Region, movement: Movement, *, grow: bool = False) -> Region:
    """Where a region is after a change; the same object if it did not move.

    With `grow`, a text that is inserted at its end belongs to it.
    """
    if region is None:
        return None
    if isinstance(movement, TextMovement):
        start, end = carry_span(region["start"], region["end"], movement, grow=grow)
        return region if (start, end) == (region["start"], region["end"]) else {"start": start, "end": end}
    path = region["path"]
    moved, _ = carry_path(path, movement)
    return region if moved == path else {"path": moved}


def carry_span(start: int, end: int, movement: TextMovement, *, grow: bool = False) -> tuple[int, int]:
    """Where a span is after the edits. An empty one takes a text that is inserted exactly there."""
    new_start, new_end = start, end
    for edit in movement.edits:
        if edit.start > end or (edit.start == end and start < end and not (grow and edit.end == end)):
            break
        size = len(edit.inserted)
        longer = size - (edit.end - edit.start)
        if edit.end <= start and (start < end or edit.end < start):
            new_start += longer
            new_end += longer
        elif edit.start == end and start < end:
            new_end += size
        else:
            new_start = edit.place if edit.start <= start else new_start
            new_end = edit.place + size if edit.end >= end else new_end + longer
    return new_start, new_end


def carry_path(path: str, movement: PathMovement) -> tuple[str, bool]:
    """Where a path is after a patch, and whether what it led to is still there."""
    walk = _PathWalk(tokens(path), movement.before)
    for step in movement.patch:
        walk.take(step)
    return pointer(walk.names), walk.lost is None


class _PathWalk:
    """One path, moved by one operation after another."""

    def __init__(self, names: tuple[str, ...], before: Value) -> None:
        self.names = names
        self.lost: tuple[str, ...] | None = None
        """The path at which it was removed; what is added there takes its place."""
        self._before = before
        self._inside: tuple[str, ...] = ()

    def take(self, step: Mapping[str, Any]) -> None:
        target = tokens(step["path"])
        match step["op"]:
            case "add" | "copy":
                self._add(target)
            case "remove":
                self._remove(target)
            case "move":
                source = tokens(step["from"])
                held = self.names[len(source) :] if self._is_at(source) else None
                self._remove(source)
                if held is None:
                    self._add(target)
                else:
                    self.names, self.lost = (*target, *held), None

    def _is_at(self, source: tuple[str, ...]) -> bool:
        return self.lost is None and self.names[: len(source)] == source

    def _add(self, target: tuple[str, ...]) -> None:
        if self.lost is not None and target == self.lost:
            self.names, self.lost = (*target, *self._inside), None
        elif (place := self._shifts(target)) is not None and int(target[-1]) <= place:
            self._shift(len(target) - 1, place + 1)

    def _remove(self, target: tuple[str, ...]) -> None:
        if target and self.lost is None and self.names[: len(target)] == target:
            self.lost, self._inside = target, self.names[len(target) :]
            self.names = target[:-1]
        elif (place := self._shifts(target)) is not None and int(target[-1]) < place:
            self._shift(len(target) - 1, place - 1)

    def _shifts(self, target: tuple[str, ...]) -> int | None:
        """The position of this path in the list that `target` is in; None if it is not in that list."""
        depth = len(target) - 1
        if depth < 0 or len(self.names) <= depth or self.names[:depth] != target[:depth]:
            return None
        if not (target[-1].isdecimal() and self.names[depth].isdecimal()):
            return None
        # Objects have names of digits as well; a list that this patch makes has no regions yet.
        return int(self.names[depth]) if isinstance(self._list(target[:depth]), list) else None

    def _list(self, names: tuple[str, ...]) -> Any:
        return content("json", {"path": pointer(names)}, self._before)

    def _shift(self, depth: int, place: int) -> None:
        self.names = (*self.names[:depth], str(place), *self.names[depth + 1 :])
