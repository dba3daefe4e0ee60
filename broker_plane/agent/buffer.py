"""The out-of-band buffer of sync mode: it stores bodies, and the model gets a `ddi://` handle for each."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from time import monotonic
from typing import Any, Protocol

from broker_plane.agent.held_results import HeldResult
from broker_plane.errors import BufferFullError, StaleHandleError
from broker_plane.tabular.json_values import exact_json_bytes

SCHEME = "ddi://"
HELD = f"{SCHEME}held/"
"""Handles of results that were held back. They remain valid for their time to live."""

_HANDLE_BYTES = 16


def is_handle(value: object) -> bool:
    return isinstance(value, str) and value.startswith(SCHEME)


def is_lasting(handle: str) -> bool:
    """Whether a handle can be used any number of times."""
    return handle.startswith(HELD)


class Bodies(Protocol):
    """Stores bodies by handle. One of sync mode can be taken once; `put_back` restores it after a failed tool call."""

    async def keep(self, body: Any) -> str:
        """A handle for `body`, any JSON value.

        Raises:
            BufferFullError: the body was not stored.
        """

    async def hold(self, held: HeldResult) -> dict[str, Any]:
        """Store a large result; the members that say where: `resource_url`, which remains valid, and facts about it.

        Raises:
            BufferFullError: it was not stored.
        """

    async def give(self, handle: str) -> Any:
        """The body of `handle`, which becomes invalid unless `is_lasting(handle)`.

        Raises:
            StaleHandleError: the handle was used, has expired, or is unknown.
        """

    async def put_back(self, handle: str, body: Any) -> None:
        """Make `handle` valid again: the call that took the body failed."""


@dataclass(frozen=True, slots=True)
class _Entry:
    body: Any
    size: int
    expires: float


class Buffer:
    """Stores up to `max_count` bodies, `max_bytes` of JSON in all, in memory for `ttl` seconds each.

    Expired bodies are dropped at each access. The buffer is thread-safe.
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
        """A handle for `body`, which is stored without a copy.

        Raises:
            BufferFullError: it does not fit; it was not stored.
        """
        handle = f"{SCHEME}{secrets.token_urlsafe(_HANDLE_BYTES)}"
        self._enter(handle, body)
        return handle

    def put_held(self, held: HeldResult) -> dict[str, Any]:
        """As `hold`."""
        handle = f"{HELD}{secrets.token_urlsafe(_HANDLE_BYTES)}"
        self._enter(handle, held.text.to_json())
        size = len(held.text.text.encode("utf-8", "surrogatepass"))
        facts = {"size": size, "media_type": held.text.media_type} if held.is_text else {}
        return facts | {"resource_url": handle}

    def take(self, handle: str) -> Any:
        """The body of `handle`, which becomes invalid unless `is_lasting(handle)`.

        Raises:
            StaleHandleError: the handle was used, has expired, or is unknown.
        """
        with self._lock:
            body = self.peek(handle)
            if not is_lasting(handle):
                self._drop(handle)
            return body

    def peek(self, handle: str) -> Any:
        """The body of `handle`, which remains valid.

        Raises:
            StaleHandleError: as `take`.
        """
        with self._lock:
            self._drop_expired()
            entry = self._entries.get(handle)
        if entry is None:
            raise StaleHandleError(
                "This ddi:// handle is no longer valid (already used, expired, or from another agent). "
                "Call the resource tool again"
            )
        return entry.body

    def put_again(self, handle: str, body: Any) -> None:
        """Store `body` under `handle` for `ttl` seconds from now."""
        self._enter(handle, body)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._size = 0

    @property
    def size(self) -> int:
        """Bytes of JSON in the buffer."""
        self._drop_expired()
        return self._size

    def snapshot(self) -> dict[str, Any]:
        """Every stored body by its handle, for a checkpoint of the conversation."""
        with self._lock:
            self._drop_expired()
            return {handle: entry.body for handle, entry in self._entries.items()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Replace the content by `snapshot`, each body for `ttl` seconds from now."""
        self.clear()
        for handle, body in snapshot.items():
            self._enter(handle, body)

    async def keep(self, body: Any) -> str:
        return self.put(body)

    async def hold(self, held: HeldResult) -> dict[str, Any]:
        return self.put_held(held)

    async def give(self, handle: str) -> Any:
        return self.take(handle)

    async def put_back(self, handle: str, body: Any) -> None:
        self.put_again(handle, body)

    def __len__(self) -> int:
        self._drop_expired()
        return len(self._entries)

    def __contains__(self, handle: object) -> bool:
        self._drop_expired()
        return handle in self._entries

    def _enter(self, handle: str, body: Any) -> None:
        size = len(exact_json_bytes(body))
        with self._lock:
            self._admit(handle, body, size)

    def _admit(self, handle: str, body: Any, size: int) -> None:
        self._drop_expired()
        if len(self._entries) >= self.max_count or self._size + size > self.max_bytes:
            raise BufferFullError(
                f"The buffer holds {len(self._entries)} bodies of {self._size} bytes; {size} more bytes do not fit "
                f"({self.max_count} bodies, {self.max_bytes} bytes). Pass some on, or call the tool with mode='async'"
            )
        self._entries[handle] = _Entry(body, size, self._clock() + self.ttl)
        self._size += size

    def _drop(self, handle: str) -> None:
        self._size -= self._entries.pop(handle).size

    def _drop_expired(self) -> None:
        now = self._clock()
        with self._lock:
            for handle in [name for name, entry in self._entries.items() if not now < entry.expires]:
                self._drop(handle)
