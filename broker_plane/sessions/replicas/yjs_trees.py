"""The replicas of JSON documents and tables for `crdt`: shared maps and arrays of Yjs, one inside the other."""

from __future__ import annotations

from typing import Any, Literal, cast

import orjson
from pycrdt import Array, Map

from broker_plane.errors import ChangeError, TooLargeError
from broker_plane.sessions import json_patch
from broker_plane.sessions.canonical import DEEPEST, check_json, plain
from broker_plane.sessions.json_differences import from_documents
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Value
from broker_plane.sessions.replicas.yjs_documents import (
    CREATOR,
    MOST_PIECES,
    MOST_PLAIN,
    ROOT,
    Author,
    YDoc,
    new_document,
    update_of,
)
from broker_plane.sessions.replicas.yjs_nesting import added_levels, depth
from broker_plane.sessions.replicas.yjs_replica import YjsReplica
from broker_plane.wire.nesting import levels
from broker_plane.wire.yjs_updates import Struct, Update
from broker_plane.wire.yjs_varints import UNDEFINED

_CONTENT = frozenset({"any", "type", "string", "deleted", "gc", "skip", "format"})
_TYPES = frozenset({"map", "array", "text"})


class YjsTree(YjsReplica):
    """A JSON object in `getMap('artifact')`, or a table in `getArray('artifact')`, whose items are its rows.

    Objects and lists are shared types all the way down, so edits of different members merge. Clients may also set plain
    values and shared texts; those are replaced as a whole.
    """

    def __init__(self, kind: Literal["json", "table"], update: bytes, author: Author | None = None) -> None:
        super().__init__(update, author)
        self.kind: ArtifactKind = kind
        self._levels: int | None = None
        """An upper bound of the levels of the artifact."""
        self._tried_levels = 0

    @classmethod
    def new(cls, kind: Literal["json", "table"], value: Value) -> YjsTree:
        """The replica of a new session. Raises ChangeError for JSON that is not an object."""
        doc = new_document(CREATOR)
        replica = cls(kind, b"")
        replica._check_root(value)
        return cls(kind, update_of(doc, lambda: replica._fill(doc, value)))

    def _same(self, update: bytes) -> YjsTree:
        return type(self)("table" if self.kind == "table" else "json", update, self._author)

    def _root(self, doc: YDoc) -> Any:
        return doc.get(ROOT, type=Map if self.kind == "json" else Array)

    def _read(self, doc: YDoc) -> Value:
        # The JSON of yrs is read much faster than its objects, and has whole numbers as such. Its members come in
        # another order each time, so they are sorted.
        return orjson.loads(orjson.dumps(orjson.loads(str(self._root(doc))), option=orjson.OPT_SORT_KEYS))

    def _check_struct(self, struct: Struct) -> None:
        if struct.kind not in _CONTENT or (struct.kind == "type" and struct.content not in _TYPES):
            what = struct.content if struct.kind == "type" else struct.kind
            raise ChangeError(f"The update inserts content of the kind {what}, which JSON does not have")
        if struct.root is not None and (struct.root != ROOT or (struct.key is None) != (self.kind == "table")):
            shared = "getMap" if self.kind == "json" else "getArray"
            raise ChangeError(f"The update changes another shared type than {shared}({ROOT!r})")
        if struct.kind == "any" and isinstance(struct.content, list):
            for value in struct.content:
                if value is UNDEFINED:
                    raise ChangeError("The update inserts undefined, which JSON does not have")
                check_json(value)

    def _check_update(self, update: Update) -> None:
        added = added_levels(update)
        if added > DEEPEST:
            raise ChangeError(f"The update nests values deeper than {DEEPEST} levels")
        if self._levels is None:
            self._levels = depth(self.value)
        self._tried_levels = self._levels + added

    def _watch(self, doc: YDoc) -> object:
        root = self._root(doc)
        return (root, root.observe(self._observed)) if self.kind == "table" else None

    def _observed(self, event: Any) -> None:
        for each in cast(list[dict[str, Any]], event.delta):
            self._events += [type(row) for row in each.get("insert", ())]

    def _check_trial(self, doc: YDoc) -> None:
        if any(not issubclass(each, Map | dict) for each in self._events):
            raise ChangeError("The update inserts a row that is not an object of columns")
        if self._tried_levels > DEEPEST:
            self._tried_levels = depth(self._read(doc))
            if self._tried_levels > DEEPEST:
                raise ChangeError(f"The artifact would be nested deeper than {DEEPEST} levels")

    def _applied(self) -> None:
        self._levels = self._tried_levels

    def _edit(self, doc: YDoc, edit: Change) -> None:
        patch = json_patch.parse(edit, self.value)
        if self.kind == "table":
            json_patch.check_rows(patch)
        if len(patch) > MOST_PIECES:
            value = json_patch.apply(patch, self.value)
            self._check_root(value)
            self._refill(doc, value)
            return
        _check_lists([operation.get("value") for operation in patch])
        root = self._root(doc)
        for operation in patch:
            parts = json_patch.tokens(operation["path"])
            if parts:
                _do(root, parts, operation)
            elif operation["op"] == "replace":
                self._replace(doc, operation["value"])

    def _replace(self, doc: YDoc, value: Value) -> None:
        """Make the whole artifact another one; what both have is kept."""
        self._check_root(value)
        patch = from_documents(self._read(doc), value)
        if len(patch) > MOST_PIECES or any(not operation["path"] for operation in patch):
            self._refill(doc, value)
            return
        for operation in patch:
            _do(self._root(doc), json_patch.tokens(operation["path"]), operation)

    def _check_root(self, value: Value) -> None:
        if self.kind == "json" and not isinstance(value, dict):
            raise ChangeError("A JSON artifact of a crdt session is an object. Use the sync protocol patch for others")

    def _refill(self, doc: YDoc, value: Value) -> None:
        self._root(doc).clear()
        self._fill(doc, value)

    def _fill(self, doc: YDoc, value: Value) -> None:
        _check_lists([value])
        root = self._root(doc)
        if self.kind == "table":
            root.extend([_shared(row) for row in value])
            return
        for name, each in value.items():
            root[name] = _shared(each)

    def _edit_to(self, value: Value) -> Change:
        return from_documents(self.value, value)


def _check_lists(values: list[Any]) -> None:
    """Refuse lists that yrs would take minutes to insert: each plain value is a block, and the time grows with their
    square. Clients of Yjs insert such lists in one block. Raises TooLargeError.
    """
    members = (each for level, _ in levels(values) for each in level if type(each) is list)
    if sum(type(each) not in (dict, list) for found in members for each in found) > MOST_PLAIN:
        raise TooLargeError(
            f"An edit of a crdt session may insert lists with {MOST_PLAIN} plain values; add them in several edits, or "
            "use the sync protocol patch"
        )


def _shared(value: Any) -> Any:
    """A JSON value as shared types."""
    match value:
        case dict():
            return Map({name: _shared(each) for name, each in value.items()})
        case list():
            return Array([_shared(each) for each in value])
        case _:
            return value


def _do(container: Any, parts: json_patch.Tokens, operation: json_patch.Operation) -> None:
    """Do an operation in normal form that applies to the shared type `container`, at the place `parts` in it."""
    for depth_in, part in enumerate(parts):
        key = int(part) if isinstance(container, Array) else part
        rest = parts[depth_in + 1 :]
        if not rest:
            _set(container, key, operation)
            return
        inner = container[key]
        if not isinstance(inner, Map | Array):
            changed = json_patch.apply([operation | {"path": json_patch.pointer(rest)}], plain(inner))
            container[key] = _shared(changed)
            return
        container = inner


def _set(container: Any, key: Any, operation: json_patch.Operation) -> None:
    match operation["op"]:
        case "remove":
            del container[key]
        case "add" if isinstance(container, Array):
            container.insert(key, _shared(operation["value"]))
        case "add" | "replace":
            container[key] = _shared(operation["value"])
