"""The audit in the stream BP_AUDIT: each message is a batch of entries of one process, as JSON.

Noting an entry only appends it; a task writes the entries at most a second later, so that a pull never waits for its
audit. So a crash may lose the last second of the process, and what it could not write before because the broker was
unavailable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.leader import every
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.wire.audit import AuditEntries, AuditEntry, parse_entry

BATCH_SECONDS = 1.0
_MAX_PENDING = 50_000
_ENTRIES_A_MESSAGE = 500
_WAITING_MESSAGES = 64
_CLOSE_SECONDS = 2.0


class NatsAudit:
    """The AuditLog port. `writer` is this process, on the subject and in the ids by which repeats are dropped."""

    def __init__(self, connection: Connection, writer: str) -> None:
        self.dropped = 0
        """Number of lost entries: too many at once, or the broker was unavailable for too long."""
        self._connection = connection
        self._names = connection.names
        self._writer = writer
        self._pending = AuditEntries()
        self._waiting: deque[tuple[str, list[AuditEntry]]] = deque()
        self._written = 0
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def note(self, entry: AuditEntry) -> None:
        if len(self._pending) >= _MAX_PENDING or self._closing.is_set():
            self.dropped += 1
            return
        self._pending.add(entry)
        if self._task is None:
            self._task = asyncio.create_task(self._writing())

    async def close(self) -> None:
        """Write what is left, for up to two seconds; the rest is dropped."""
        self._closing.set()
        task = self._task
        if task is not None:
            await asyncio.wait({task}, timeout=_CLOSE_SECONDS)
            await cancel_and_forget(task)

    async def read(self) -> AsyncGenerator[AuditEntry, None]:
        async with aclosing(
            every(self._connection, self._names.audit_stream, self._names.audit_subject(">"))
        ) as messages:
            async for message in messages:
                for entry in map(parse_entry, orjson.loads(message.data)):
                    if entry is not None:
                        yield entry

    async def _writing(self) -> None:
        """Write until nothing is left. While the broker is unavailable, batches wait in order."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BATCH_SECONDS):
                    await self._closing.wait()
            pending, self._pending = self._pending, AuditEntries()
            for entries in _messages(pending):
                self._written += 1
                self._waiting.append((f"{self._writer}.{self._written}", entries))
            while len(self._waiting) > _WAITING_MESSAGES:
                self.dropped += len(self._waiting.popleft()[1])
            with suppress(BrokerPlaneError):
                await self._write()
            if not len(self._pending) and (not self._waiting or self._closing.is_set()):
                self._task = None
                return

    async def _write(self) -> None:
        while self._waiting:
            name, entries = self._waiting[0]
            raw = orjson.dumps([entry.to_wire() for entry in entries])
            await self._connection.wait_connected()  # the audit starts no broker
            # A batch whose acknowledgement was lost is written again; nats-server drops the repeat by its id.
            await self._connection.store(self._names.audit_subject(self._writer), raw, {"Nats-Msg-Id": name})
            self._waiting.popleft()


def _messages(entries: AuditEntries) -> Iterator[list[AuditEntry]]:
    found = entries.all()
    for start in range(0, len(found), _ENTRIES_A_MESSAGE):
        yield found[start : start + _ENTRIES_A_MESSAGE]
