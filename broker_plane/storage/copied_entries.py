"""The entry store of grants: each entry is copied, and is read only while its bucket can be trusted (copies.py)."""

from __future__ import annotations

import asyncio

from broker_plane.broker.connection import Connection
from broker_plane.errors import BrokerUnavailableError
from broker_plane.plane.ports import EntryStore
from broker_plane.storage.late_copies import LateCopies


class Gate:
    """Open while the state buckets can be trusted. A process that does not serve grants never shuts it."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is how long a call waits for it to open."""
        self._seconds = seconds
        self._open = asyncio.Event()
        self._open.set()
        self._why = ""

    def shut(self, why: str = "") -> None:
        """Let no call pass from now on; `why` is the reason that they report."""
        self._open.clear()
        self._why = why or self._why

    def open(self) -> None:
        self._open.set()
        self._why = ""

    async def passed(self) -> None:
        """Wait until it is open.

        Raises:
            BrokerUnavailableError: it stays shut for too long.
        """
        if self._open.is_set():
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._open.wait()
        except TimeoutError as error:
            why = self._why or "try again"
            raise BrokerUnavailableError(f"The state of grants is not verified yet: {why}", retry_after=1) from error


class CopiedEntries:
    """The EntryStore port over the bucket of grants in `entries`."""

    def __init__(self, entries: EntryStore, connection: Connection, gate: Gate) -> None:
        self._entries = entries
        self._copies = LateCopies(connection, connection.names.grants_bucket)
        self._gate = gate

    async def close(self) -> None:
        """Copy what was not copied yet."""
        await self._copies.close()

    async def load(self, key: str) -> tuple[bytes | None, int]:
        await self._gate.passed()
        return await self._entries.load(key)

    async def save(self, key: str, entry: bytes, revision: int, ttl_seconds: int, *, passing: bool = False) -> int:
        await self._gate.passed()
        saved = await self._entries.save(key, entry, revision, ttl_seconds)
        if passing:
            self._copies.copy_late(key, entry, saved, ttl_seconds)
        else:
            self._copies.copy(key, entry, saved, ttl_seconds)
        return saved
