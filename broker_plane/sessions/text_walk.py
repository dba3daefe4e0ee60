"""Reads the components of a text operation in pieces, and builds one from pieces. Pure; `text_ops` is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Component = int | str | dict[str, str]


def length(component: Component) -> int:
    """The code points that a component skips, inserts or deletes."""
    match component:
        case int():
            return component
        case str():
            return len(component)
        case _:
            return len(component["d"])


def append(op: list[Component], component: Component) -> None:
    """Add a component at the end, joined with the last one if both do the same. Empty ones are left out."""
    if length(component) == 0:
        return
    match (op[-1] if op else None, component):
        case (int(last), int(more)):
            op[-1] = last + more
        case (str(text), str(inserted)):
            op[-1] = text + inserted
        case ({"d": text}, {"d": deleted}):
            op[-1] = {"d": text + deleted}
        case _:
            op.append(component)


def trim(op: list[Component]) -> list[Component]:
    """`op` without a skip at its end."""
    if op and isinstance(op[-1], int):
        op.pop()
    return op


class Walk:
    """Takes an operation apart from its start; after its end there are skips without bound."""

    def __init__(self, op: Sequence[Component]) -> None:
        self._op = op
        self._index = 0
        self._offset = 0

    def peek(self) -> Component | None:
        """The next component, perhaps already taken in part."""
        return self._op[self._index] if self._index < len(self._op) else None

    def take(self, most: int, whole: Literal["insert", "delete"]) -> Component:
        """The next piece, with at most `most` code points; components of the sort `whole` are not cut."""
        component = self.peek()
        if component is None:
            return most
        left = length(component) - self._offset
        uncut = isinstance(component, str if whole == "insert" else dict)
        if uncut or left <= most:
            return self.take_next()
        piece = _part(component, self._offset, self._offset + most)
        self._offset += most
        return piece

    def take_next(self) -> Component:
        """The rest of the next component; there has to be one."""
        component = self._op[self._index]
        piece = _part(component, self._offset, length(component))
        self._index, self._offset = self._index + 1, 0
        return piece

    def drain(self, result: list[Component]) -> list[Component]:
        """`result` with the rest of the operation at its end, trimmed."""
        while self.peek() is not None:
            append(result, self.take_next())
        return trim(result)


def _part(component: Component, start: int, end: int) -> Component:
    match component:
        case int():
            return end - start
        case str():
            return component[start:end]
        case _:
            return {"d": component["d"][start:end]}
