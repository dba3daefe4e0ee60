"""Key-value buckets (ADR-8) whose entries are listed, changed by compare-and-set, deleted, and may expire."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every, newest
from broker_plane.broker.messages import Message
from broker_plane.storage.layout import ensure_bucket
from broker_plane.wire.plane_names import kv_stream, kv_subject

_DELETED = {"KV-Operation": "DEL"}
_DELETED_SECONDS = 60
"""A marker is kept for so long, so that those who wait for a change see it."""

_AGAIN_SECONDS = 0.5
_STORED_SECONDS = 0.005


class NatsBucket:
    """The Bucket port. A revision is the entry's stream sequence; 0 means that there never was one, or no longer."""

    def __init__(
        self, connection: Connection, bucket: str, ensure: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """The stream is created at the first use, by `ensure` if its configuration differs from that of others."""
        self._connection = connection
        self._stream = kv_stream(bucket)
        self._subject = kv_subject(bucket, "")
        self._create = ensure or partial(ensure_bucket, connection, bucket)
        self._ensured = False

    async def load(self, name: str) -> tuple[bytes | None, int]:
        await self._ensure()
        entry = await newest(self._connection, self._stream, self._subject + name)
        return (None, 0) if entry is None else (_content(entry), sequence_of(entry))

    async def save(self, name: str, entry: bytes, revision: int, ttl_seconds: int = 0) -> int:
        headers = {"Nats-TTL": f"{ttl_seconds}s"} if ttl_seconds else {}
        return await self._store(name, entry, revision, headers)

    async def delete(self, name: str, revision: int) -> None:
        await self._store(name, b"", revision, {**_DELETED, "Nats-TTL": f"{_DELETED_SECONDS}s"})

    async def entries(self, pattern: str = ">") -> AsyncGenerator[tuple[str, bytes, int], None]:
        async with aclosing(self.entries_after(pattern, 0)) as entries:
            async for entry in entries:
                yield entry

    async def entries_after(self, pattern: str, after: int) -> AsyncGenerator[tuple[str, bytes, int], None]:
        """As `Bucket.entries`, without those whose revision is not above `after`."""
        await self._ensure()
        async with aclosing(every(self._connection, self._stream, self._subject + pattern, after + 1)) as messages:
            async for message in messages:
                if (content := _content(message)) is not None:
                    name = (message.headers or {})["Nats-Subject"].removeprefix(self._subject)
                    yield name, content, sequence_of(message)

    async def changed(self, name: str, revision: int, seconds: float) -> tuple[bytes | None, int]:
        await self._ensure()
        deadline = anyio.current_time() + seconds
        # Subscribed before it is loaded: no change falls in between. Subscribers have a message before it is stored,
        # and nobody announces that an entry expired, so it is loaded again after a moment.
        async with self._connection.subscribe(self._subject + name) as subscription:
            while (found := await self.load(name))[1] == revision and anyio.current_time() < deadline:
                with anyio.move_on_after(min(_AGAIN_SECONDS, deadline - anyio.current_time())):
                    await subscription.next(None)
                    await anyio.sleep(_STORED_SECONDS)
        return found

    async def _store(self, name: str, entry: bytes, revision: int, headers: dict[str, Any]) -> int:
        await self._ensure()
        return await store_after(self._connection, self._stream, self._subject + name, entry, revision, headers)

    async def _ensure(self) -> None:
        if not self._ensured:
            await self._create()
            self._ensured = True


def _content(message: Message) -> bytes | None:
    """The entry; None for the marker of a deleted one."""
    return message.data or None
