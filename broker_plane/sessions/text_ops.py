"""Operations on texts: those of the npm package ot-text-unicode 4.0.0, with deletions that say what they delete. Pure.

An operation is a list of components that walk over the text from its start. Positions and lengths are in code points.
The rest of the text after the last component stays as it is; the empty list changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from broker_plane.errors import ChangeError
from broker_plane.sessions.text_walk import Component, Walk, append, length, trim

Op = list[Component]
"""Components: a number skips that many code points, a string is inserted, `{"d": "text"}` deletes exactly that text."""

Side = Literal["left", "right"]
"""Which of two inserts at the same position comes first: the left one."""

MOST_COMPONENTS = 100_000


def parse(raw: object, base: str | None = None) -> Op:
    """The operation in a value from outside, in its normal form: adjacent components joined, no skip at the end.

    With `base`, the text that it applies to, a deletion may also be `{"d": number}`, and gets its text from there.

    Raises:
        ChangeError: it is not an operation; the message names the component.
    """
    if not isinstance(raw, list):
        raise ChangeError("A text operation is a list of components: numbers, strings and {'d': 'text'}")
    if len(raw) > MOST_COMPONENTS:
        raise ChangeError(f"A text operation has at most {MOST_COMPONENTS} components, not {len(raw)}")
    op: Op = []
    at = 0
    for number, each in enumerate(raw):
        component = _component(each, number, base, at)
        at += 0 if isinstance(component, str) else length(component)
        append(op, component)
    return trim(op)


def _component(raw: object, number: int, base: str | None, at: int) -> Component:
    match raw:
        case bool():
            pass
        case int() if 0 < raw < 1 << 53:
            return raw
        case str() if raw:
            return _encodable(raw, number)
        case {"d": str(text), **more} if text and not more:
            return {"d": _encodable(text, number)}
        case {"d": int(count), **more} if base is not None and not more and 0 < count <= len(base) - at:
            return {"d": base[at : at + count]}
    raise ChangeError(
        f"Component {number} of the text operation is not a number of code points above 0, a text, or {{'d': 'text'}}"
    )


def _encodable(text: str, number: int) -> str:
    if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
        raise ChangeError(f"Component {number} of the text operation has half of a surrogate pair")
    return text


def apply(op: Sequence[Component], text: str) -> str:
    """The text after the operation.

    Raises:
        ChangeError: it reaches beyond the end of the text, or deletes a text that is not there.
    """
    parts: list[str] = []
    at = 0
    for kind, here, piece in _steps(op, text):
        if kind == "insert":
            parts += (text[at:here], piece)
            at = here
        elif kind == "delete":
            parts.append(text[at:here])
            at = here + len(piece)
    parts.append(text[at:])
    return "".join(parts)


def check_fits(op: Sequence[Component], text: str) -> int:
    """By how many bytes of UTF-8 the operation makes the text longer. Raises ChangeError as `apply` does."""
    return sum(
        {"insert": 1, "delete": -1, "skip": 0}[kind] * len(piece.encode()) for kind, _, piece in _steps(op, text)
    )


def _steps(op: Sequence[Component], text: str) -> Iterator[tuple[str, int, str]]:
    """Yield (what, position in the old text, inserted or deleted text) of each component."""
    at = 0
    for component in op:
        if isinstance(component, str):
            yield "insert", at, component
            continue
        size = length(component)
        if at + size > len(text):
            raise ChangeError(f"The operation reaches position {at + size}, but the text has {len(text)} code points")
        if isinstance(component, dict):
            if not text.startswith(component["d"], at):
                raise ChangeError(f"The operation deletes a text at position {at} that is not there")
            yield "delete", at, component["d"]
        else:
            yield "skip", at, ""
        at += size


def compose(first: Sequence[Component], second: Sequence[Component]) -> Op:
    """One operation that does `first` and then `second`. Raises ChangeError if `second` cannot follow `first`."""
    result: Op = []
    walk = Walk(first)
    for component in second:
        if isinstance(component, str):
            append(result, component)
        elif isinstance(component, int):
            left = component
            while left > 0:
                chunk = walk.take(left, whole="delete")
                append(result, chunk)
                left -= 0 if isinstance(chunk, dict) else length(chunk)
        else:
            _compose_delete(result, walk, component["d"])
    return walk.drain(result)


def _compose_delete(result: Op, walk: Walk, deleted: str) -> None:
    at = 0
    while at < len(deleted):
        match walk.take(len(deleted) - at, whole="delete"):
            case int(count):
                append(result, {"d": deleted[at : at + count]})
                at += count
            case str(inserted):
                if not deleted.startswith(inserted, at):
                    raise ChangeError("The second operation deletes a text that the first one did not insert there")
                at += len(inserted)
            case chunk:
                append(result, chunk)


def transform(op: Sequence[Component], other: Sequence[Component], side: Side) -> Op:
    """`op` as it applies after `other`, when both were made on the same text.

    TP1 holds: `other` then `transform(op, other, "left")` gives the same text as `op` then
    `transform(other, op, "right")`.
    """
    result: Op = []
    walk = Walk(op)
    for component in other:
        if isinstance(component, str):
            if side == "left" and isinstance(walk.peek(), str):
                append(result, walk.take_next())
            append(result, len(component))
            continue
        left = length(component)
        deletes = isinstance(component, dict)
        while left > 0:
            chunk = walk.take(left, whole="insert")
            if isinstance(chunk, str):
                append(result, chunk)
                continue
            if not deletes:
                append(result, chunk)
            left -= length(chunk)
    return walk.drain(result)


def invert(op: Sequence[Component]) -> Op:
    """The operation that undoes `op` on the text after it."""
    result: Op = []
    for component in op:
        match component:
            case str():
                append(result, {"d": component})
            case dict():
                append(result, component["d"])
            case _:
                append(result, component)
    return trim(result)


def replacement(text: str, start: int, end: int, new: str) -> Op:
    """The operation that puts `new` in the place of `text[start:end]`."""
    op: Op = []
    for component in (start, {"d": text[start:end]}, new):
        append(op, component)
    return trim(op)


def carry(op: Sequence[Component], position: int, side: Side = "right") -> int:
    """Where a position of the old text is in the new one.

    A position inside a deleted range is at its start. One at which a text is inserted is left or right of that text.
    """
    at, moved = 0, position
    for component in op:
        if at > position:
            break
        match component:
            case str():
                moved += len(component) if at < position or side == "right" else 0
            case dict():
                moved -= min(len(component["d"]), position - at)
                at += len(component["d"])
            case _:
                at += component
    return moved


def to_json(op: Sequence[Component]) -> list[Any]:
    """A copy as plain JSON."""
    return [dict(each) if isinstance(each, dict) else each for each in op]
