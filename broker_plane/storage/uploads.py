"""The chunks of uploads, on the subject of the body that they become: each goes behind the one that its writer knows.

A chunk is written under the condition that the last one of its subject is the one before it, so that of two requests
for one upload one goes on and the other is told. `Bp-Offset` says where a chunk ends. What is less than a chunk stands
on a subject beside it, where each tail takes the place of the one before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import ceil
from typing import Any

from nats.aio.msg import Msg

from broker_plane.plane.upload import Reached
from broker_plane.storage.connection import Connection
from broker_plane.storage.direct import batch, sequence_of, status
from broker_plane.storage.meta import write_meta
from broker_plane.storage.putting import CHUNK_BYTES, CHUNKS_OUTLIVE_SECONDS
from broker_plane.storage.streams import ensure_bodies, purge
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId, chunk_subject, meta_subject, object_stream, tail_subject

_OFFSET = "Bp-Offset"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_AT_ONCE = 8


class NatsParts:
    """The Parts port."""

    def __init__(self, connection: Connection, replicas: int) -> None:
        self._connection = connection
        self._replicas = replicas
        self._ready: set[str] = set()

    @property
    def chunk_bytes(self) -> int:
        return min(CHUNK_BYTES, self._connection.max_payload - 8192)

    async def prepare(self, owner: str) -> None:
        if owner not in self._ready:
            await ensure_bodies(self._connection, owner, self._replicas)
            self._ready.add(owner)

    async def reached(self, owner: str, body_id: BodyId) -> Reached:
        chunk = await self._last(owner, chunk_subject(owner, body_id))
        tail = await self._last(owner, tail_subject(owner, body_id))
        end = _offset(chunk)
        last = sequence_of(chunk) if chunk else 0
        if tail is None:
            return Reached(end, last)
        # Of an earlier request, whose bytes are in a chunk by now, or were cut off from it: it is only replaced.
        data = tail.data if _offset(tail) - len(tail.data) == end else b""
        return Reached(end, last, data, sequence_of(tail))

    async def add(self, owner: str, body_id: BodyId, chunk: bytes, end: int, after: int, expires: int) -> int:
        return await self._connection.store(chunk_subject(owner, body_id), chunk, self._headers(end, after, expires))

    async def keep(self, owner: str, body_id: BodyId, tail: bytes, end: int, after: int, expires: int) -> int:
        headers = self._headers(end, after, expires) | {"Nats-Rollup": "sub"}
        return await self._connection.store(tail_subject(owner, body_id), tail, headers)

    async def chunks(self, owner: str, body_id: BodyId) -> AsyncGenerator[tuple[int, bytes], None]:
        sequence = 1
        while True:
            asked: dict[str, Any] = {
                "batch": _AT_ONCE,
                "seq": sequence,
                "next_by_subj": chunk_subject(owner, body_id),
            }
            last = 0
            async with aclosing(batch(self._connection, object_stream(owner), asked)) as messages:
                async for message in messages:
                    last = sequence_of(message)
                    yield last, message.data
            if not last:
                return
            sequence = last + 1

    async def commit(self, body: BodyInfo) -> None:
        headers = {_EXPECTED: "0", "Nats-TTL": self._ttl(body.expires)}
        await self._connection.store(meta_subject(body.owner, body.id), write_meta(body), headers)
        await purge(self._connection, body.owner, tail_subject(body.owner, body.id))

    async def free(self, owner: str, body_id: BodyId) -> None:
        for subject in (chunk_subject(owner, body_id), tail_subject(owner, body_id)):
            await purge(self._connection, owner, subject)

    def _headers(self, end: int, after: int, expires: int) -> dict[str, str]:
        return {_OFFSET: str(end), _EXPECTED: str(after), "Nats-TTL": self._ttl(expires + CHUNKS_OUTLIVE_SECONDS)}

    def _ttl(self, until: int) -> str:
        return f"{max(1, ceil(until - self._connection.clock.now()))}s"

    async def _last(self, owner: str, subject: str) -> Msg | None:
        answer = await self._connection.request(f"$JS.API.DIRECT.GET.{object_stream(owner)}.{subject}")
        return None if status(answer) else answer


def _offset(message: Msg | None) -> int:
    return int((message.headers or {}).get(_OFFSET, "0")) if message else 0
