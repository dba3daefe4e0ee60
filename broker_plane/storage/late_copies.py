"""Late copies of entries that change again soon, so that most of these copies are never written.

A small delivery claims a lease and ends some milliseconds later. Its second state replaces the first, in the bucket and
in its copy. A state that is still the last one after a moment is copied under a condition: another bridge may have
ended the delivery, and its copy is newer.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from broker_plane.broker.connection import Connection
from broker_plane.errors import BrokerPlaneError
from broker_plane.storage.copies import copy_entry, copy_unless_newer

LATE_SECONDS = 0.1
"""Longer than most deliveries of small bodies, and short beside a lease."""


@dataclass(frozen=True, slots=True)
class _Late:
    entry: bytes
    revision: int
    ends: float
    """When the entry expires, in the loop's time."""

    breaks: int
    """Of the connection until it was written."""


class LateCopies:
    """Copies the entries of one bucket: at once, or a moment later unless they change before."""

    def __init__(self, connection: Connection, bucket: str, *, seconds: float = LATE_SECONDS) -> None:
        self._connection = connection
        self._bucket = bucket
        self._seconds = seconds
        self._waiting: dict[str, _Late] = {}
        self._copying: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Copy what is waiting."""
        if self._copying is not None:
            self._copying.cancel()
            await asyncio.gather(self._copying, return_exceptions=True)
        await self._copy_waiting()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def copy(self, key: str, entry: bytes, revision: int, ttl_seconds: int) -> None:
        """Copy the entry in the next turn of the event loop; an earlier state of it is not copied any more.

        So the answer that the caller sends next goes first, and shares a socket write with the copy.
        """
        self._waiting.pop(key, None)
        copying = copy_entry(self._connection, self._bucket, key, entry, revision, ttl_seconds)
        task = asyncio.create_task(copying)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def copy_late(self, key: str, entry: bytes, revision: int, ttl_seconds: int) -> None:
        """Copy the entry in a moment, unless it changes before."""
        ends = asyncio.get_running_loop().time() + ttl_seconds
        self._waiting[key] = _Late(entry, revision, ends, self._connection.link.breaks)
        if self._copying is None or self._copying.done():
            self._copying = asyncio.create_task(self._copy_in_a_moment())

    async def _copy_in_a_moment(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._seconds)
            await self._copy_waiting()

    async def _copy_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        await asyncio.gather(*(self._copy(key, late) for key, late in waiting.items()))

    async def _copy(self, key: str, late: _Late) -> None:
        if late.breaks != self._connection.link.breaks:
            return  # bucket and copy were compared since, and the bucket may have lost this entry
        left = late.ends - asyncio.get_running_loop().time()
        with suppress(BrokerPlaneError):  # `Copies.verify` makes up for it
            await copy_unless_newer(self._connection, self._bucket, key, late.entry, late.revision, left)
