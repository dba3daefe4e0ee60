"""Rebases a JSON Patch over others that were made on the same document (operational transformation). Pure.

All patches are in the normal form of `json_patch`. Two operations overlap if one changes a place that the other one
changes, or one inside it. Inserting into a list moves what comes after it and overlaps with nothing inside the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broker_plane.errors import ChangeError
from broker_plane.sessions.json_differences import same
from broker_plane.sessions.json_patch import DocumentDraft, Operation, Patch, Tokens, at, pointer, tokens


@dataclass(frozen=True, slots=True)
class _Moved:
    """An operation after another one. `operation` is None if there is nothing left to do."""

    operation: Operation | None
    overlap: bool = False


def rebase(patch: Patch, other: Patch, document: Any) -> tuple[Patch, list[str]]:
    """`patch` as it applies after `other`, and the places where they overlap.

    Both apply to `document`; the places are pointers after `other`. Where they overlap, `patch` replaces what `other`
    wrote, except inside of what `other` removed: that stays removed.
    """
    overlaps: list[str] = []
    for operation in other:
        patch, place = _over(patch, operation, document)
        overlaps = [carry(old, operation, document) for old in overlaps]
        overlaps += place
        draft = DocumentDraft(document)
        draft.do(operation)
        document = draft.document
    return patch, overlaps


def _over(patch: Patch, other: Operation, document: Any) -> tuple[Patch, list[str]]:
    """A patch after one operation, and the places where they overlap, as pointers after that operation."""
    before, after = DocumentDraft(document), DocumentDraft(document)
    after.do(other)
    rebased: Patch = []
    places: list[str] = []
    left: Operation | None = other
    for operation in patch:
        moved = _transform(operation, left, before.document, wins=True) if left else _Moved(operation)
        if moved.overlap and left:
            places.append(carry(min(operation["path"], left["path"], key=len), left, before.document))
        left = _transform(left, operation, before.document, wins=False).operation if left else None
        before.do(operation)
        try:
            rebased += [after.do(moved.operation)] if moved.operation else []
        except ChangeError:  # it is inside of what is gone; a draft that refused is not used again
            after = _redone(document, [other, *rebased])
    return rebased, places


def _redone(document: Any, patch: Sequence[Operation]) -> DocumentDraft:
    draft = DocumentDraft(document)
    for operation in patch:
        draft.do(operation)
    return draft


def _transform(operation: Operation, other: Operation, document: Any, *, wins: bool) -> _Moved:
    """`operation` after `other`, both of `document`. Of two that write one place, the one that `wins` is kept."""
    if other["op"] == "test":
        return _Moved(operation)
    mine, theirs = tokens(operation["path"]), tokens(other["path"])
    inserts = _in_list(theirs, document) and operation["op"] == "add" and len(mine) == len(theirs)
    if _in_list(theirs, document) and other["op"] in ("add", "remove"):
        if mine[: len(theirs) - 1] != theirs[:-1] or len(mine) < len(theirs):
            return _Moved(operation, _contains(operation, mine, theirs, document))
        return _shifted(operation, other, mine, len(theirs) - 1, inserts=inserts, wins=wins)
    if mine == theirs and not inserts:
        return _same_place(operation, other, wins=wins)
    if mine[: len(theirs)] == theirs and not inserts:
        return _Moved(operation if wins else None, overlap=True)
    return _Moved(operation, _contains(operation, mine, theirs, document))


def _contains(operation: Operation, mine: Tokens, theirs: Tokens, document: Any) -> bool:
    """Whether `operation` replaces, removes or tests a place that their place is in."""
    inserts = operation["op"] == "add" and _in_list(mine, document)
    return theirs[: len(mine)] == mine and not inserts


def _shifted(operation: Operation, other: Operation, mine: Tokens, depth: int, *, inserts: bool, wins: bool) -> _Moved:
    """An operation in or below a list into which `other` inserts, or from which it removes."""
    here, there = int(mine[depth]), int(tokens(other["path"])[depth])
    if other["op"] == "add":
        # Of two inserts at one place, the one that came first stays first.
        further = here > there or (here == there and (not inserts or wins))
        return _Moved(_at_position(operation, mine, depth, here + 1) if further else operation)
    if here == there and not inserts:
        both_remove = operation["op"] == "remove" and len(mine) == depth + 1
        return _Moved(None, overlap=not both_remove)
    return _Moved(_at_position(operation, mine, depth, here - 1) if here > there else operation)


def _at_position(operation: Operation, mine: Tokens, depth: int, position: int) -> Operation:
    return operation | {"path": pointer((*mine[:depth], position, *mine[depth + 1 :]))}


def _same_place(operation: Operation, other: Operation, *, wins: bool) -> _Moved:
    """Both write a place of an object, or the whole document."""
    kinds = operation["op"], other["op"]
    if kinds == ("remove", "remove"):
        return _Moved(None)
    if "remove" not in kinds and "test" not in kinds and same(operation["value"], other["value"]):
        return _Moved(None)
    if operation["op"] == "test" or not wins:
        return _Moved(None, overlap=True)
    if other["op"] == "remove":
        return _Moved(operation | {"op": "add"}, overlap=True)
    return _Moved(operation | {"op": "replace"} if operation["op"] == "add" else operation, overlap=True)


def _in_list(parts: Tokens, document: Any) -> bool:
    try:
        return bool(parts) and isinstance(at(document, parts[:-1]), list)
    except ChangeError:
        return False


def carry(path: str, operation: Operation, document: Any) -> str:
    """Where a place of `document` is after an operation in normal form; if it is gone, the place that contained it."""
    mine, theirs = tokens(path), tokens(operation["path"])
    if operation["op"] == "remove" and mine[: len(theirs)] == theirs:
        return pointer(theirs[:-1])
    if operation["op"] == "replace" and mine[: len(theirs)] == theirs:
        return pointer(theirs)
    if operation["op"] not in ("add", "remove") or not _in_list(theirs, document):
        return path
    depth = len(theirs) - 1
    if len(mine) <= depth or mine[:depth] != theirs[:depth] or not mine[depth].isdecimal():
        return path
    here, there = int(mine[depth]), int(theirs[depth])
    step = 1 if operation["op"] == "add" else -1
    return pointer((*mine[:depth], here + step, *mine[depth + 1 :])) if here >= there else path
