"""Describes a JSON text: its shape as a list of paths with the kinds of values there. Pure.

The elements of a long array are sampled: its length is exact, what is in it comes from its first elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from broker_plane.reading.answers import BodyDescription
from broker_plane.reading.json_path import Tick
from broker_plane.reading.json_scan import JsonPart, check_json, items, kind_of, members
from broker_plane.reading.json_text import MOST_COUNTED
from broker_plane.reading.tokens import TOKEN_BYTES

SAMPLED = 20
"""Elements of an array that are looked into."""

_MOST_MEMBERS = 100
_MOST_DEPTH = 6
_MOST_VALUES = 5_000
"""Values that are looked at in all."""

_MOST_LINES = 100
_SHOWN = 40
_SHORT_BYTES = 200


def json_description(raw: bytes, media_type: str, tick: Tick = lambda: None) -> BodyDescription:
    """The shape of a JSON text.

    Raises:
        WireError: it is not JSON.
    """
    whole = check_json(raw)
    walk = _Walk(tick)
    walk.look(walk.root, whole, 0)
    facts = {"bytes": len(raw), "tokens": -(-len(raw) // TOKEN_BYTES), "root": kind_of(whole)}
    lines = list(islice(walk.root.lines("$"), _MOST_LINES + 1))
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES] = "…"
    return BodyDescription(kind="json", media_type=media_type, facts=facts, outline=tuple(lines))


class _Place:
    """A path, and the values that were found there."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.sizes: list[int] = []
        self.many = False
        """Whether an array has more than MOST_COUNTED elements."""
        self.example: Any = None
        self.members: dict[str, _Place] = {}
        self.more_members = 0
        self.element: _Place | None = None

    def lines(self, path: str, seen_of: int = 0) -> Iterator[str]:
        """One line for this path, and those below it."""
        yield f"{path}: {self._said(seen_of)}"
        objects = self.kinds["object"]
        for name, place in self.members.items():
            yield from place.lines(f"{path}{_step(name)}", objects)
        if self.more_members:
            yield f"{path}.…: {self.more_members:,} more members"
        if self.element is not None:
            yield from self.element.lines(f"{path}[*]")

    def _said(self, seen_of: int) -> str:
        kinds = "|".join(f"{kind}{self._size()}" if kind == "array" else kind for kind in self.kinds)
        count = self.kinds.total()
        rare = f", in {count} of {seen_of} sampled" if count < seen_of else ""
        example = "" if self.example is None else f", e.g. {self.example}"
        return f"{kinds}{rare}{example}"

    def _size(self) -> str:
        low, high = min(self.sizes), max(self.sizes)
        most = f"more than {high:,}" if self.many else f"{high:,}"
        return f" of {most}" if low == high else f" of {low:,} to {most}"


class _Walk:
    def __init__(self, tick: Tick) -> None:
        self.root = _Place()
        self._tick = tick
        self._left = _MOST_VALUES

    def look(self, place: _Place, value: JsonPart, depth: int) -> None:
        """Note a value at `place`, and its members."""
        kind = kind_of(value)
        place.kinds[kind] += 1
        self._left -= 1
        if kind == "object":
            self._look_into_object(place, value, depth)
        elif kind == "array":
            self._look_into_array(place, value, depth)
        elif place.example is None:
            place.example = self._example(value)

    def _look_into_object(self, place: _Place, value: JsonPart, depth: int) -> None:
        if depth >= _MOST_DEPTH:
            return
        for number, (name, found) in enumerate(members(value)):
            self._tick()
            if number >= _MOST_MEMBERS or self._left <= 0:
                place.more_members += 1
                continue
            self.look(place.members.setdefault(name, _Place()), found, depth + 1)

    def _look_into_array(self, place: _Place, value: JsonPart, depth: int) -> None:
        count = 0
        for element in items(value):
            self._tick()
            count += 1
            if count <= SAMPLED and depth < _MOST_DEPTH and self._left > 0:
                place.element = place.element or _Place()
                self.look(place.element, element, depth + 1)
            if count > MOST_COUNTED:
                place.many = True
                break
        place.sizes.append(min(count, MOST_COUNTED))

    @staticmethod
    def _example(value: JsonPart) -> str:
        if len(value) > _SHORT_BYTES:
            return f"a text of {len(value) - 2:,} bytes"
        text = bytes(value).decode("utf-8", "replace")
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _step(name: str) -> str:
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
    return f".{shown}" if name.isidentifier() else f"[{shown!r}]"
