"""Anchors of notes: a region, the text that it had, and where both are as the artifact changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from broker_plane.sessions.movements import Movement, PathMovement, TextMovement, carry_path, carry_span
from broker_plane.sessions.regions import Region, content, exists
from broker_plane.sessions.replicas.port import ArtifactKind, Value

MOST_QUOTE: Final = 200
"""Maximum length of a quote in characters."""

_LEAST_FOUND: Final = 8
"""A quote of fewer characters is not looked for in what is inserted elsewhere: it would be found by chance."""


_MOST_SEARCHED: Final = 64 << 10
"""Characters of an inserted text in which the quote is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The region of a note, and the beginning of what it had when the note was written."""

    region: Region
    quote: str = ""
    detached: bool = False
    """Whether everything in it was removed. The region is then the place where it was."""
    growing: bool = False
    """Whether a text that is inserted at its end belongs to it: somebody is typing what replaces the removed text."""

    def to_json(self) -> dict[str, Any]:
        """The anchor as `show` has it."""
        return {"region": self.region, "quote": self.quote, "detached": self.detached}


def quote_of(kind: ArtifactKind, region: Region, value: Value) -> str:
    """The beginning of what is in a region, for people; JSON as its text."""
    if not exists(kind, region, value):
        return ""
    found = content(kind, region, value)
    if kind == "text":
        return str(found[:MOST_QUOTE])
    return msgspec.json.encode(found).decode()[:MOST_QUOTE]


def carry_anchors(anchors: Mapping[str, Anchor], movement: Movement) -> Mapping[str, Anchor]:
    """All anchors after a change; the same mapping if none moved."""
    carried = {key: carry_anchor(anchor, movement) for key, anchor in anchors.items()}
    return anchors if all(carried[key] is anchor for key, anchor in anchors.items()) else carried


def carry_anchor(anchor: Anchor, movement: Movement) -> Anchor:
    """An anchor after a change; the same object if it did not move."""
    if anchor.region is None:
        return anchor
    if isinstance(movement, PathMovement):
        return _carry_path(anchor, movement)
    return _carry_span(anchor, anchor.region["start"], anchor.region["end"], movement)


def _carry_path(anchor: Anchor, movement: PathMovement) -> Anchor:
    assert anchor.region is not None  # noqa: S101  # the caller has checked
    if anchor.detached:
        path, _ = carry_path(anchor.region["path"], movement)
        return anchor if path == anchor.region["path"] else replace(anchor, region={"path": path})
    path, there = carry_path(anchor.region["path"], movement)
    if there and path == anchor.region["path"]:
        return anchor
    return replace(anchor, region={"path": path}, detached=not there)


def _carry_span(anchor: Anchor, start: int, end: int, movement: TextMovement) -> Anchor:
    if any(edit.deleted and (edit.start < start < edit.end or edit.start < end < edit.end) for edit in movement.edits):
        # A larger text was replaced; what is left of this region in the new one is found by comparing both.
        movement = movement.refined
    new_start, new_end = carry_span(start, end, movement, grow=anchor.growing)
    if (new_start, new_end) == (start, end) and not _changes_within(start, end, movement):
        return anchor
    if (found := _found_again(anchor, start, end, movement)) is not None:
        return found
    typed = _typed(new_start, new_end, start, end, movement)
    growing = (anchor.growing or new_start == new_end) and "\n" not in typed
    if growing is False and anchor.growing and "\n" in typed:
        new_end -= len(typed) - typed.index("\n")
    return replace(anchor, region={"start": new_start, "end": new_end}, detached=new_start == new_end, growing=growing)


def _changes_within(start: int, end: int, movement: TextMovement) -> bool:
    return any(edit.start < end and edit.end > start for edit in movement.edits)


def _typed(new_start: int, new_end: int, start: int, end: int, movement: TextMovement) -> str:
    """The text that was inserted at the end of a region, and belongs to it now."""
    for edit in movement.edits:
        if edit.start == edit.end == end and edit.inserted and edit.place + len(edit.inserted) == new_end:
            return edit.inserted
    return ""


def _found_again(anchor: Anchor, start: int, end: int, movement: TextMovement) -> Anchor | None:
    """The anchor at its quote, if that was removed and the same change inserted it elsewhere or in a longer text."""
    touched = anchor.detached or any(edit.start <= start and edit.end >= end for edit in movement.edits)
    if not touched or len(anchor.quote) < _LEAST_FOUND:
        return None
    for edit in movement.edits:
        place = edit.inserted.find(anchor.quote, 0, _MOST_SEARCHED)
        if place >= 0:
            begin = edit.place + place
            length = len(anchor.quote) if len(anchor.quote) < MOST_QUOTE or anchor.detached else end - start
            return replace(
                anchor,
                region={"start": begin, "end": min(begin + length, edit.place + len(edit.inserted))},
                detached=False,
                growing=False,
            )
    return None
