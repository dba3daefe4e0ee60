"""The replicas of JSON documents and tables for the sync protocol `patch`: Python values."""

from __future__ import annotations

from typing import Any, Self

import orjson

from broker_plane.errors import TooLargeError
from broker_plane.sessions import json_patch
from broker_plane.sessions.json_differences import from_documents
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Sync, Value


class DocumentReplica:
    """A JSON value or a list of rows, changed by patches. A value that was read stays as it was."""

    sync: Sync = "patch"

    def __init__(self, kind: ArtifactKind, value: Value) -> None:
        self.kind: ArtifactKind = kind
        self._value = value
        self._size: int | None = None
        self._tried: tuple[Change, Value, int] | None = None
        """The last change that was checked, and what it leads to."""

    @property
    def value(self) -> Value:
        return self._value

    @property
    def size(self) -> int:
        if self._size is None:
            self._size = _size(self._value)
        return self._size

    def check(self, change: Change, limit: int) -> None:
        _, size = self._try(change)
        if size > limit and size > self.size:
            raise TooLargeError(f"The {self.kind} would have {size} bytes; this session allows {limit}")

    def apply(self, change: Change) -> None:
        self._value, self._size = self._try(change)
        self._tried = None

    def change_to(self, value: Value) -> Change | None:
        return from_documents(self._value, value) or None

    def change_for(self, edit: Change) -> Change:
        return json_patch.parse(edit, self._value)

    def copy(self) -> Self:
        replica = type(self).__new__(type(self))
        replica.__dict__.update(self.__dict__)
        return replica

    def pack(self) -> bytes:
        return orjson.dumps(self._value)

    def _try(self, change: Change) -> tuple[Value, int]:
        if self._tried is None or self._tried[0] is not change:
            patch, value = json_patch.parse_and_apply(change, self._value)
            if self.kind == "table":
                json_patch.check_rows(patch)
            self._tried = change, value, _size(value)
        return self._tried[1:]


def _size(value: Any) -> int:
    return len(orjson.dumps(value))
