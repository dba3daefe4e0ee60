"""The out-of-band buffer of sync mode: bodies wait here, and the model gets a `ddi://` handle for each."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from time import monotonic
from typing import Any, Protocol

from broker_plane.errors import BufferFullError, StaleHandleError
from broker_plane.tabular.json_values import exact_json_bytes

SCHEME = "ddi://"
_HANDLE_BYTES = 16


def is_handle(value: object) -> bool:
    return isinstance(value, str) and value.startswith(SCHEME)


class Bodies(Protocol):
    """Where bodies wait. A handle gives its body once; `put_back` is for a tool call that failed."""

    async def keep(self, body: Any) -> str:
        """A handle for `body`, any JSON value.

        Raises:
            BufferFullError: nothing was kept.
        """

    async def give(self, handle: str) -> Any:
        """The body of `handle`, which gives nothing any more.

        Raises:
            StaleHandleError: it was used, expired, or never given out.
        """

    async def put_back(self, handle: str, body: Any) -> None:
        """`handle` gives `body` again: the call that took it came to nothing."""


@dataclass(frozen=True, slots=True)
class _Entry:
    body: Any
    size: int
    expires: float


class Buffer:
    """Bodies in this process's memory: at most `max_count` of together `max_bytes` of JSON, each for `ttl` seconds.

    What expired is dropped whenever the buffer is looked at. Several threads may use it.
    """

    def __init__(
        self,
        *,
        ttl: float = 600.0,
        max_bytes: int = 256 << 20,
        max_count: int = 1_000,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.ttl = ttl
        self.max_bytes = max_bytes
        self.max_count = max_count
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._size = 0
        self._lock = RLock()

    def put(self, body: Any) -> str:
        """A handle for `body`, which is kept as it is.

        Raises:
            BufferFullError: it does not fit beside what waits already; nothing was kept.
        """
        handle = f"{SCHEME}{secrets.token_urlsafe(_HANDLE_BYTES)}"
        self._enter(handle, body)
        return handle

    def take(self, handle: str) -> Any:
        """The body of `handle`, for the first and last time.

        Raises:
            StaleHandleError: it was used, expired, or never given out.
        """
        with self._lock:
            body = self.peek(handle)
            self._drop(handle)
            return body

    def peek(self, handle: str) -> Any:
        """The body of `handle`, which stays.

        Raises:
            StaleHandleError: as `take`.
        """
        with self._lock:
            self._sweep()
            entry = self._entries.get(handle)
        if entry is None:
            raise StaleHandleError(
                "This ddi:// handle gives nothing: it was used, has expired, or is none of this agent's. "
                "Call the resource tool again"
            )
        return entry.body

    def put_again(self, handle: str, body: Any) -> None:
        """`handle` gives `body`, from now on for `ttl` seconds."""
        self._enter(handle, body)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._size = 0

    @property
    def size(self) -> int:
        """Bytes of JSON that wait."""
        self._sweep()
        return self._size

    def snapshot(self) -> dict[str, Any]:
        """Every waiting body by its handle, for a checkpoint beside the conversation."""
        with self._lock:
            self._sweep()
            return {handle: entry.body for handle, entry in self._entries.items()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """What waits is what `snapshot` says, each from now on for `ttl` seconds."""
        self.clear()
        for handle, body in snapshot.items():
            self._enter(handle, body)

    async def keep(self, body: Any) -> str:
        return self.put(body)

    async def give(self, handle: str) -> Any:
        return self.take(handle)

    async def put_back(self, handle: str, body: Any) -> None:
        self.put_again(handle, body)

    def __len__(self) -> int:
        self._sweep()
        return len(self._entries)

    def __contains__(self, handle: object) -> bool:
        self._sweep()
        return handle in self._entries

    def _enter(self, handle: str, body: Any) -> None:
        size = len(exact_json_bytes(body))
        with self._lock:
            self._admit(handle, body, size)

    def _admit(self, handle: str, body: Any, size: int) -> None:
        self._sweep()
        if len(self._entries) >= self.max_count or self._size + size > self.max_bytes:
            raise BufferFullError(
                f"{len(self._entries)} bodies of {self._size} bytes wait, and {size} more do not fit "
                f"({self.max_count} bodies, {self.max_bytes} bytes). Hand some on, or call the tool with mode='async'"
            )
        self._entries[handle] = _Entry(body, size, self._clock() + self.ttl)
        self._size += size

    def _drop(self, handle: str) -> None:
        self._size -= self._entries.pop(handle).size

    def _sweep(self) -> None:
        now = self._clock()
        with self._lock:
            for handle in [name for name, entry in self._entries.items() if not now < entry.expires]:
                self._drop(handle)
