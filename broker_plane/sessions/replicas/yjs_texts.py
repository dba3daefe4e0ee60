"""The replica of a text for `crdt`. pycrdt counts in bytes of UTF-8; everything outside this module in code points."""

from __future__ import annotations

from typing import Any, Final, cast

from pycrdt import Text

from broker_plane.errors import ChangeError
from broker_plane.sessions import text_ops
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Value
from broker_plane.sessions.replicas.yjs_documents import CREATOR, MOST_PIECES, ROOT, YDoc, new_document, update_of
from broker_plane.sessions.replicas.yjs_replica import YjsReplica
from broker_plane.sessions.text_differences import from_texts
from broker_plane.sessions.text_places import coarser
from broker_plane.sessions.text_walk import append, trim
from broker_plane.wire.yjs_updates import Struct, Update

_CONTENT = frozenset({"string", "deleted", "gc", "skip", "format"})

_MOST_PLACES: Final = 256
"""Of one change. Yjs looks for each from the start of the document, so thousands of them would take seconds."""


class YjsText(YjsReplica):
    """A text: the shared type `getText('artifact')`. Formatting marks are kept, and are not part of the artifact."""

    kind: ArtifactKind = "text"
    _watches = False

    @classmethod
    def new(cls, text: str) -> YjsText:
        """The replica of a new session."""
        doc = new_document(CREATOR)
        return cls(update_of(doc, lambda: _root(doc).insert(0, text)) if text else b"")

    def moved(self, change: Change) -> text_ops.Op:
        if not self._watches:
            # A delta takes longer than everything else, so it is made for replicas that are asked for it.
            self._watches, self._trial, self._tried = True, None, None
        self._try(change)
        return _op_of_delta(self._events, self.value)

    def _read(self, doc: YDoc) -> Value:
        return str(_root(doc))

    def _check_struct(self, struct: Struct) -> None:
        if struct.kind not in _CONTENT:
            raise ChangeError(f"The update inserts content of the kind {struct.kind}; the artifact is a text")
        if struct.key is not None or struct.parent is not None or struct.root not in (None, ROOT):
            raise ChangeError(f"The update changes another shared type than getText({ROOT!r})")

    def _watch(self, doc: YDoc) -> object:
        # Without pycrdt's wrapper of events, which also finds the path of each.
        return _root(doc).integrated.observe(self._observed) if self._watches else None

    def _observed(self, event: Any) -> None:
        self._events.extend(cast(list[dict[str, Any]], event.delta))

    def _check_update(self, update: Update) -> None:
        """All content that `_check_struct` lets in is that of a text, so there is nothing more to check."""

    def _check_trial(self, doc: YDoc) -> None:
        """As for `_check_update`."""

    def _applied(self) -> None:
        """Nothing has to be remembered."""

    def _same(self, update: bytes) -> YjsText:
        return type(self)(update, self._author)

    def _edit(self, doc: YDoc, edit: Change) -> None:
        op = text_ops.parse(edit, self.value)
        text_ops.check_fits(op, self.value)
        if len(op) > MOST_PIECES:
            op = _as_one(op, self.value)
        root = _root(doc)
        for what, at, piece in byte_steps(coarser(op, self.value, _MOST_PLACES), self.value):
            if what == "insert":
                root.insert(at, piece)
            else:
                del root[at : at + len(piece.encode())]

    def _edit_to(self, value: Value) -> Change:
        return from_texts(self.value, value)


def _root(doc: YDoc) -> Text:
    return cast(Text, doc.get(ROOT, type=Text))


def _as_one(op: text_ops.Op, text: str) -> text_ops.Op:
    """The operation that replaces everything from the first to the last place that `op` changes."""
    start = op[0] if isinstance(op[0], int) else 0
    end = sum(each if isinstance(each, int) else len(each["d"]) for each in op if not isinstance(each, str))
    changed = text_ops.apply(op, text)
    one: text_ops.Op = []
    for each in (start, {"d": text[start:end]}, changed[start : len(changed) - len(text) + end]):
        append(one, each)
    return one


def byte_steps(op: text_ops.Op, text: str) -> list[tuple[str, int, str]]:
    """(insert or delete, position in bytes of UTF-8 in the text as it then is, text) of each step of an operation."""
    steps: list[tuple[str, int, str]] = []
    at = position = 0
    for component in op:
        match component:
            case str():
                steps.append(("insert", position, component))
                position += len(component.encode())
            case dict():
                steps.append(("delete", position, component["d"]))
                at += len(component["d"])
            case _:
                position += len(text[at : at + component].encode())
                at += component
    return steps


def _op_of_delta(delta: list[dict[str, Any]], old: str) -> text_ops.Op:
    """The operation on `old` that a delta of Yjs, in bytes of UTF-8, describes."""
    raw = old.encode()
    op: text_ops.Op = []
    at = 0
    for each in delta:
        if "insert" in each:
            append(op, each["insert"])
        elif "delete" in each:
            append(op, {"d": raw[at : at + each["delete"]].decode()})
            at += each["delete"]
        else:
            append(op, len(raw[at : at + each["retain"]].decode()))
            at += each["retain"]
    return trim(op)
