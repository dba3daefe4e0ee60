"""The replica of a text for the sync protocols `ot` and `patch`: a Python string."""

from __future__ import annotations

from typing import Literal, Self

from broker_plane.errors import TooLargeError
from broker_plane.sessions import text_ops
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Sync, Value
from broker_plane.sessions.text_differences import from_texts


class TextReplica:
    """A text, changed by operations of `text_ops`."""

    kind: ArtifactKind = "text"

    def __init__(self, text: str, sync: Literal["ot", "patch"]) -> None:
        self.sync: Sync = sync
        self._text = text
        self._size = len(text.encode())

    @property
    def value(self) -> Value:
        return self._text

    @property
    def size(self) -> int:
        return self._size

    def check(self, change: Change, limit: int) -> None:
        longer = text_ops.check_fits(text_ops.parse(change), self._text)
        if longer > 0 and self._size + longer > limit:
            raise TooLargeError(f"The text would have {self._size + longer} bytes; this session allows {limit}")

    def apply(self, change: Change) -> None:
        op = text_ops.parse(change)
        text = text_ops.apply(op, self._text)
        self._size += sum(
            len(each.encode()) if isinstance(each, str) else -len(each["d"].encode())
            for each in op
            if not isinstance(each, int)
        )
        self._text = text

    def change_to(self, value: Value) -> Change | None:
        return from_texts(self._text, value) or None

    def change_for(self, edit: Change) -> Change:
        return self._fitting(text_ops.parse(edit, self._text))

    def moved(self, change: Change) -> text_ops.Op:
        return self._fitting(text_ops.parse(change))

    def _fitting(self, op: text_ops.Op) -> text_ops.Op:
        text_ops.check_fits(op, self._text)
        return op

    def copy(self) -> Self:
        replica = type(self).__new__(type(self))
        replica.__dict__.update(self.__dict__)
        return replica

    def pack(self) -> bytes:
        return self._text.encode()
