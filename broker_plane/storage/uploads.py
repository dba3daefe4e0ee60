"""Partial uploads: chunks on the subject of the body that they will become.

A chunk is written on condition that the last one of its subject is its predecessor, so of two concurrent requests for
one upload, one continues and the other fails. `Bp-Offset` is the offset at which a chunk ends. A tail of less than
a chunk is kept on a subject beside it, where it replaces the previous tail.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import ceil

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every, newest
from broker_plane.broker.messages import Message
from broker_plane.errors import StorageError, WireError
from broker_plane.plane.uploads.upload import UploadProgress
from broker_plane.storage.layout import ensure_bodies, purge
from broker_plane.storage.meta import write_meta
from broker_plane.storage.putting import CHUNK_BYTES, CHUNKS_OUTLIVE_SECONDS
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId

_OFFSET = "Bp-Offset"
_BATCH = 8
_DIGITS = 16


class NatsPartialUploads:
    """The store of partial uploads (plane/uploads/upload.py has the port)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names = connection.names
        self._ready: set[str] = set()

    @property
    def chunk_bytes(self) -> int:
        return min(CHUNK_BYTES, self._connection.max_payload - 8192)

    async def prepare(self, owner: str) -> None:
        if owner not in self._ready:
            await ensure_bodies(self._connection, owner)
            self._ready.add(owner)

    async def reached(self, owner: str, body_id: BodyId) -> UploadProgress:
        chunk = await self._last(owner, self._names.chunk_subject(owner, body_id))
        tail = await self._last(owner, self._names.tail_subject(owner, body_id))
        end = _offset(chunk)
        last = sequence_of(chunk) if chunk else 0
        if tail is None:
            return UploadProgress(end, last)
        # The tail of an earlier request is stale if its bytes are in a chunk by now; the next tail replaces it.
        data = tail.data if _offset(tail) - len(tail.data) == end else b""
        return UploadProgress(end, last, data, sequence_of(tail))

    async def add(self, owner: str, body_id: BodyId, chunk: bytes, end: int, after: int, expires: int) -> int:
        stream, subject = (
            self._names.object_stream(owner),
            self._names.chunk_subject(owner, body_id),
        )
        return await store_after(self._connection, stream, subject, chunk, after, self._headers(end, expires))

    async def keep(self, owner: str, body_id: BodyId, tail: bytes, end: int, after: int, expires: int) -> int:
        headers = self._headers(end, expires) | {"Nats-Rollup": "sub"}
        stream, subject = (
            self._names.object_stream(owner),
            self._names.tail_subject(owner, body_id),
        )
        return await store_after(self._connection, stream, subject, tail, after, headers)

    async def chunks(self, owner: str, body_id: BodyId) -> AsyncGenerator[tuple[int, bytes], None]:
        subject = self._names.chunk_subject(owner, body_id)
        stored = every(self._connection, self._names.object_stream(owner), subject, first=_BATCH, most=_BATCH)
        async with aclosing(stored) as messages:
            async for message in messages:
                yield sequence_of(message), message.data

    async def remove(self, owner: str, body_id: BodyId, place: int) -> None:
        try:
            fields = {"seq": place, "no_erase": True}
            await self._connection.api(f"STREAM.MSG.DELETE.{self._names.object_stream(owner)}", fields)
        except StorageError as error:
            if "10057" not in error.reason and "10037" not in error.reason:  # it is deleted already
                raise

    async def commit(self, body: BodyInfo) -> None:
        stream, subject = (
            self._names.object_stream(body.owner),
            self._names.meta_subject(body.owner, body.id),
        )
        ttl = {"Nats-TTL": self._ttl(body.expires)}
        await store_after(self._connection, stream, subject, write_meta(body, self._names.bucket(body.owner)), 0, ttl)
        await purge(self._connection, body.owner, self._names.tail_subject(body.owner, body.id))

    async def free(self, owner: str, body_id: BodyId) -> None:
        for subject in (
            self._names.chunk_subject(owner, body_id),
            self._names.tail_subject(owner, body_id),
        ):
            await purge(self._connection, owner, subject)

    def _headers(self, end: int, expires: int) -> dict[str, str]:
        return {_OFFSET: str(end), "Nats-TTL": self._ttl(expires + CHUNKS_OUTLIVE_SECONDS)}

    def _ttl(self, until: int) -> str:
        return f"{max(1, ceil(until - self._connection.clock.now()))}s"

    async def _last(self, owner: str, subject: str) -> Message | None:
        return await newest(self._connection, self._names.object_stream(owner), subject)


def _offset(message: Message | None) -> int:
    """The offset at which a chunk ends, by its header; a resource server can store anything in its own bucket.

    Raises:
        WireError: the header is not an offset.
    """
    text = (message.headers or {}).get(_OFFSET, "0") if message else "0"
    if not (text.isascii() and text.isdigit() and len(text) < _DIGITS):
        raise WireError("A stored chunk of this upload does not say where it ends; begin another upload")
    return int(text)
