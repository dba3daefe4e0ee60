"""Places for requests that are under way in one process, shared out among its clients.

A client may take a further place while it has fewer than are free, in number and in bytes. So one client gets at most
half of all, the next one half of what that leaves, and so on: a client that comes later finds a place.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Taken:
    count: int = 0
    size: int = 0


class Places:
    """At most `most` places with `most_bytes` in all."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._all = _Taken()
        self._by_client: dict[str, _Taken] = {}

    @property
    def free(self) -> int:
        """How many places are free; none if there is no room for bytes."""
        return self._most - self._all.count if self._all.size < self._most_bytes else 0

    def narrow(self, most_bytes: int) -> None:
        """Lower the bytes in all to `most_bytes`, if they are more."""
        self._most_bytes = min(self._most_bytes, most_bytes)

    def take(self, client: str, size: int) -> bool:
        """Take a place for `size` bytes; False if this client has its share, or nothing is free."""
        taken = self._by_client.get(client) or _Taken()
        free, free_bytes = self._most - self._all.count, self._most_bytes - self._all.size
        # A large request of a client that has nothing else is taken alone rather than never.
        fits = taken.size + size <= free_bytes or not self._all.count
        if taken.count >= free or not fits:
            return False
        self._by_client[client] = taken
        self._change(taken, 1, size)
        return True

    def give(self, client: str, size: int) -> None:
        """Give back a place that was taken for `size` bytes."""
        taken = self._by_client[client]
        self._change(taken, -1, -size)
        if not taken.count:
            del self._by_client[client]

    def shrink(self, client: str, size: int) -> None:
        """Give back `size` bytes of a place, and keep the place."""
        self._change(self._by_client[client], 0, -size)

    def _change(self, taken: _Taken, count: int, size: int) -> None:
        for each in (taken, self._all):
            each.count += count
            each.size += size
