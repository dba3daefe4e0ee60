"""DDIBuffer: our buffer, where a stale handle gives no rows and no error. It has our limits."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from broker_plane.agent import buffer
from broker_plane.errors import StaleHandleError


class DDIBuffer:
    """Bodies in memory by `ddi://` handle, each given once; 10 minutes, 1,000 bodies and 256 MiB at most."""

    SCHEME = buffer.SCHEME

    def __init__(self) -> None:
        self._buffer = buffer.Buffer()

    def put(self, rows: list[dict[str, Any]]) -> str:
        return self._buffer.put(rows)

    def take(self, handle: str) -> list[dict[str, Any]]:
        """The rows, for the first and last time; none for a stale handle."""
        with suppress(StaleHandleError):
            rows: list[dict[str, Any]] = self._buffer.take(handle)
            return rows
        return []

    def peek(self, handle: str) -> list[dict[str, Any]]:
        """The rows, which stay; none for a stale handle."""
        with suppress(StaleHandleError):
            rows: list[dict[str, Any]] = self._buffer.peek(handle)
            return rows
        return []

    @classmethod
    def is_handle(cls, value: object) -> bool:
        return buffer.is_handle(value)

    def clear(self) -> None:
        self._buffer.clear()

    @property
    def _store(self) -> dict[str, Any]:
        """Code of theirs reads and writes this to take checkpoints; what is changed in what is read changes nothing."""
        return self._buffer.snapshot()

    @_store.setter
    def _store(self, snapshot: dict[str, Any]) -> None:
        self._buffer.restore(snapshot)

    def __len__(self) -> int:
        return len(self._buffer)

    def __contains__(self, handle: object) -> bool:
        return handle in self._buffer
