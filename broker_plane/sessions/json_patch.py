"""Changes of JSON documents and tables: JSON Patch (RFC 6902), in a form that says where each operation works. Pure.

In the normal form, which `parse` makes, an operation is one of four: `add` inserts into a list or makes a new member,
`replace` and `remove` change what is there, and `test` changes nothing. Positions in lists are numbers. `move` becomes
a removal and an addition, `copy` an addition. Documents are never changed in place: what a patch leaves alone is shared
between the document before it and the one after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

import jsonpatch
import jsonpointer
import orjson

from broker_plane.errors import ChangeError, TooLargeError
from broker_plane.sessions.canonical import DEEPEST, check_json, check_value

Operation = dict[str, Any]
"""`op`, `path` and, except for `remove`, `value`."""

Patch = list[Operation]
Tokens = tuple[str, ...]
"""A JSON Pointer (RFC 6901), unescaped."""

MOST_OPERATIONS: Final = 20_000
MOST_COPIED: Final = 1 << 20
"""How many bytes all `copy` operations of a patch may copy."""

_LONGEST_POINTER = 4_096
_KINDS = ("add", "remove", "replace", "move", "copy", "test")
_LIBRARY_ERRORS = (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, LookupError, TypeError, ValueError)


def tokens(pointer: object) -> Tokens:
    """The parts of a JSON Pointer. Raises ChangeError if it is not one."""
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise ChangeError("A path is a JSON Pointer: empty, or a '/' before each name or position")
    parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
    if len(pointer) > _LONGEST_POINTER or len(parts) > DEEPEST:
        raise ChangeError(f"A path has at most {DEEPEST} parts and {_LONGEST_POINTER} characters")
    return parts


def pointer(parts: Sequence[str | int]) -> str:
    """The JSON Pointer with these parts."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def at(document: Any, parts: Sequence[str]) -> Any:
    """The value at a place of a document. Raises ChangeError if there is no such place."""
    for depth, part in enumerate(parts):
        match document:
            case dict() if part in document:
                document = document[part]
            case list() if (index := _index(part)) is not None and index < len(document):
                document = document[index]
            case _:
                raise ChangeError(f"The document has nothing at {pointer(parts[: depth + 1])!r}")
    return document


def _index(part: str) -> int | None:
    """A position in a list: digits without a zero before them."""
    usual = part.isascii() and part.isdigit() and (part == "0" or part[0] != "0") and len(part) <= 15
    return int(part) if usual else None


def parse(raw: object, document: Any) -> Patch:
    """The patch in a value from outside, in its normal form for `document`. Raises as `parse_and_apply` does."""
    return parse_and_apply(raw, document)[0]


def parse_and_apply(raw: object, document: Any) -> tuple[Patch, Any]:
    """The patch in a value from outside, in its normal form for `document`, and the document after it.

    Raises:
        ChangeError: it is not a JSON Patch, or cannot be applied to the document; the message names the operation.
        TooLargeError: it has too many operations, or copies too much.
    """
    if not isinstance(raw, list):
        raise ChangeError("A JSON Patch is a list of operations")
    if len(raw) > MOST_OPERATIONS:
        raise TooLargeError(f"A JSON Patch has at most {MOST_OPERATIONS} operations, not {len(raw)}")
    patch: Patch = []
    draft = DocumentDraft(document)
    copied = 0
    for number, each in enumerate(raw):
        try:
            for operation in _normal(each, draft):
                patch.append(operation)
                if each["op"] == "copy":
                    copied += len(orjson.dumps(operation["value"]))
        except ChangeError as error:
            raise ChangeError(f"Operation {number} of the patch: {error}") from error
        if copied > MOST_COPIED:
            raise TooLargeError(f"The patch copies more than {MOST_COPIED} bytes")
    return patch, draft.document


def _normal(raw: object, draft: DocumentDraft) -> Iterator[Operation]:
    """Do an operation, and yield it in its normal form."""
    document = draft.document
    match raw:
        case {"op": "move", "from": origin, "path": path}:
            source, target = tokens(origin), tokens(path)
            moved = deepcopy(at(document, source))  # later operations may change the one in the draft
            if source == target:
                return
            if target[: len(source)] == source:
                raise ChangeError("a value cannot be moved into itself")
            yield draft.do({"op": "remove", "path": pointer(source)})
            yield draft.do(_addition(target, moved, draft.document))
        case {"op": "copy", "from": origin, "path": path}:
            yield draft.do(_addition(tokens(path), deepcopy(at(document, tokens(origin))), document))
        case {"op": "add", "path": path, "value": value}:
            yield draft.do(_addition(tokens(path), value, document))
        case {"op": "replace" | "test" as kind, "path": path, "value": value}:
            parts = tokens(path)
            at(document, parts)
            yield draft.do({"op": kind, "path": pointer(parts), "value": _fitting(value, parts)})
        case {"op": "remove", "path": path}:
            parts = tokens(path)
            at(document, parts)
            if not parts:
                raise ChangeError("the whole document cannot be removed; replace it")
            yield draft.do({"op": "remove", "path": pointer(parts)})
        case _:
            raise ChangeError(f"it has no 'op' of {', '.join(_KINDS)} with the members that it needs")


def _addition(parts: Tokens, value: Any, document: Any) -> Operation:
    """The normal form of an `add`: `-` becomes a position, and what exists already is replaced."""
    value = _fitting(value, parts)
    if not parts:
        return {"op": "replace", "path": "", "value": value}
    match at(document, parts[:-1]):
        case list() as items:
            index = len(items) if parts[-1] == "-" else _index(parts[-1])
            if index is None or index > len(items):
                raise ChangeError(f"the list at {pointer(parts[:-1])!r} has no position {parts[-1]!r}")
            return {"op": "add", "path": pointer((*parts[:-1], index)), "value": value}
        case dict() as members:
            kind = "replace" if parts[-1] in members else "add"
            return {"op": kind, "path": pointer(parts), "value": value}
    raise ChangeError(f"the value at {pointer(parts[:-1])!r} has no members")


def _fitting(value: Any, parts: Tokens) -> Any:
    check_json(value, DEEPEST - len(parts))
    return value


def apply(patch: Sequence[Operation], document: Any) -> Any:
    """The document after a patch in normal form; `document` itself stays as it is.

    Raises:
        ChangeError: an operation does not fit the document.
    """
    draft = DocumentDraft(document)
    for operation in patch:
        draft.do(operation)
    return draft.document


class DocumentDraft:
    """A document that operations in normal form are done on. It copies only the containers that they change."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self._owned: dict[int, Any] = {}
        """The containers that are copies, by id; being in here keeps the id theirs."""

    def do(self, operation: Operation) -> Operation:
        """Do an operation, and return it. After a ChangeError the draft must not be used any more."""
        self._own(tokens(operation["path"])[:-1])
        try:
            self.document = jsonpatch.JsonPatch([operation]).apply(self.document, in_place=True)
        except jsonpatch.JsonPatchTestFailed as error:
            raise ChangeError(f"The value at {operation['path']!r} is not the one that the test expects") from error
        except _LIBRARY_ERRORS as error:
            raise ChangeError(f"The operation at {operation['path']!r} does not fit the document: {error}") from error
        return operation

    def _own(self, parts: Tokens) -> None:
        """Copy the containers on the way to a place, each once."""
        self.document = here = self._copied(self.document)
        for part in parts:
            key: Any = _index(part) if isinstance(here, list) else part
            if isinstance(here, list) and (key is None or key >= len(here)):
                return
            if not isinstance(here, list | dict) or (isinstance(here, dict) and key not in here):
                return
            here[key] = here = self._copied(here[key])

    def _copied(self, value: Any) -> Any:
        if not isinstance(value, dict | list) or id(value) in self._owned:
            return value
        value = value.copy()
        self._owned[id(value)] = value
        return value


def invert(patch: Sequence[Operation], document: Any) -> Patch:
    """The patch that undoes `patch` on the document after it. Raises ChangeError as `apply` does."""
    undo: Patch = []
    draft = DocumentDraft(document)
    for operation in patch:
        parts = tokens(operation["path"])
        match operation["op"]:
            case "add":
                undo.append({"op": "remove", "path": operation["path"]})
            case "remove":
                undo.append({"op": "add", "path": operation["path"], "value": at(draft.document, parts)})
            case "replace":
                undo.append({"op": "replace", "path": operation["path"], "value": at(draft.document, parts)})
        draft.do(operation)
    return undo[::-1]


def check_rows(patch: Sequence[Operation]) -> None:
    """Raise ChangeError if a patch in normal form makes something else of a table than a list of rows."""
    for operation in patch:
        depth = len(tokens(operation["path"]))
        if depth == 0 and operation["op"] == "replace":
            check_value("table", operation["value"])
        elif depth == 1 and not isinstance(operation.get("value", {}), dict):
            raise ChangeError(f"The row at {operation['path']!r} is not an object of columns")


def touched(patch: Sequence[Mapping[str, Any]]) -> list[str]:
    """The places that a patch in normal form changes, as JSON Pointers of the document at that operation."""
    return [operation["path"] for operation in patch if operation["op"] != "test"]
