"""Bodies as ADR-20 objects, so that any NATS client can read them: chunks first, the meta message is the commit.

nats-py's own ObjectStore is not used: its get copies quadratically, waits 250 ms a window and hangs on a missing chunk.
Chunks go out with a window of bytes not yet acknowledged; they come in by batched direct gets (ADR-31) of exactly the
sequences that the body info names, so a chunk that somebody else wrote on the subject is never read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
from nats.aio.msg import Msg

from broker_plane.errors import (
    BodyLostError,
    BodyNotFoundError,
    BrokerPlaneError,
    DigestMismatchError,
)
from broker_plane.plane.digest import RunningDigest
from broker_plane.plane.ledger import Ledger
from broker_plane.plane.ports import Draft
from broker_plane.storage.connection import Connection
from broker_plane.storage.direct import batch, sequence_of, status
from broker_plane.storage.meta import read_meta
from broker_plane.storage.putting import Writer
from broker_plane.storage.streams import ensure_bodies, purge
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId, bucket_of, chunk_subject, meta_subject, object_stream

_SHARED_WINDOW_BYTES = 32 << 20
"""Asked for and not yet read by all readers of a process together, though each has two chunks at least."""


class NatsBodyStore:
    """The BodyStore port on JetStream. `read_window` bytes are asked for and not yet read, at most.

    What it deletes is noted in the `ledger`. With `write_only` it is a resource server's: it may publish and nothing
    else, so it makes no bucket and removes nothing; the chunks of a body that broke off end with their time to live.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        replicas: int = 1,
        max_body_bytes: int = 64 << 30,
        read_window: int = 4 << 20,
        write_only: bool = False,
        ledger: Ledger | None = None,
    ) -> None:
        self._connection = connection
        self._replicas = replicas
        self._max_body_bytes = max_body_bytes
        self._window = read_window
        self._readers = 0
        self._write_only = write_only
        self._ledger = ledger
        self._ready_owners: set[str] = set()

    @asynccontextmanager
    async def writer(self, draft: Draft) -> AsyncIterator[Writer]:
        if not self._write_only and draft.owner not in self._ready_owners:
            await ensure_bodies(self._connection, draft.owner, self._replicas)
            self._ready_owners.add(draft.owner)
        writer = Writer(self._connection, draft, self._max_body_bytes, write_only=self._write_only)
        try:
            yield writer
        except BaseException:
            await self._abort(writer)
            raise
        if not writer.committed:
            await self._abort(writer)

    async def _abort(self, writer: Writer) -> None:
        if not self._write_only:
            await writer.abort()

    async def info(self, owner: str, body_id: BodyId) -> BodyInfo:
        subject = f"$JS.API.DIRECT.GET.{object_stream(owner)}.{meta_subject(owner, body_id)}"
        answer = await self._connection.request(subject)
        if status(answer) == "404":
            raise BodyNotFoundError("This body is not stored any more: it was deleted or has expired")
        body = read_meta(answer.data, owner)
        if body.id != body_id:
            raise BodyNotFoundError("There is an object of this name, and it says that it is another")
        return body

    async def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        stop = body.size if stop is None else min(stop, body.size)
        whole = start == 0 and stop == body.size
        digest = RunningDigest()
        held = b""
        size = 0
        async for chunk in self._chunks(body, start, stop):
            if held:
                yield held
            held = chunk
            if whole:
                size += len(chunk)
                await digest.add(chunk)
        # The last piece is held back until everything is known to be right: an incomplete read must look incomplete.
        if whole and (size != body.size or await digest.hexdigest() != body.digest):
            raise DigestMismatchError("The stored body is damaged: its SHA-256 does not hold. Publish it again")
        if held:
            yield held

    async def list(self, owner: str) -> AsyncIterator[BodyInfo]:
        stream = object_stream(owner)
        subject = f"$O.{bucket_of(owner)}.M.*"
        sequence = 1
        while True:
            request = {"batch": 256, "seq": sequence, "next_by_subj": subject}
            last = 0
            async for message in batch(self._connection, stream, request):
                if message.data:
                    last = sequence_of(message)
                    with suppress(BrokerPlaneError):  # an object that another program put into the bucket
                        yield read_meta(message.data, owner)
            if not last:
                return
            sequence = last + 1

    async def watch(self, owner: str) -> AsyncGenerator[BodyInfo, None]:
        """New bodies of `owner` as they are committed, from now on; for people who look on, and not durable."""
        async with self._connection.listening(f"$O.{bucket_of(owner)}.M.*") as subscription:
            while True:
                with suppress(BrokerPlaneError):
                    message = await subscription.next(None)
                    # A core subscription sees the message before the stream has judged it.
                    yield await self.info(owner, read_meta(message.data, owner).id)

    async def delete(self, owner: str, body_id: BodyId) -> None:
        body = await self.info(owner, body_id)
        if self._ledger is not None:
            await self._ledger.deleting(body_id, body.expires)
        await purge(self._connection, owner, meta_subject(owner, body_id))
        await purge(self._connection, owner, chunk_subject(owner, body_id))

    async def _chunks(self, body: BodyInfo, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to `stop`, chunk by chunk, in order."""
        if start >= stop:
            return
        first, last = start // body.chunk_bytes, (stop - 1) // body.chunk_bytes
        number = first
        async for chunk in self._messages(body, first, last):
            begin = max(0, start - number * body.chunk_bytes)
            end = min(len(chunk), stop - number * body.chunk_bytes)
            yield chunk if (begin, end) == (0, len(chunk)) else chunk[begin:end]
            number += 1

    async def _messages(self, body: BodyInfo, first: int, last: int) -> AsyncGenerator[bytes, None]:
        if body.chunks == 1:
            yield await self._single(body)
            return
        stream = object_stream(body.owner)
        subject = chunk_subject(body.owner, body.id)
        runs = deque(_runs_within(body, first, last))
        connection = self._connection
        inbox = connection.inbox()
        async with connection.listening(inbox) as subscription:
            asked: deque[tuple[int, int]] = deque()

            async def ask() -> None:
                sequence, left = runs.popleft()
                count = min(left, self._batch_chunks(body))
                if count < left:
                    runs.appendleft((sequence + count, left - count))
                fields: dict[str, Any] = {"batch": count, "seq": sequence, "next_by_subj": subject}
                await connection.publish(f"$JS.API.DIRECT.GET.{stream}", orjson.dumps(fields), reply=inbox)
                asked.append((sequence, count))

            self._readers += 1
            try:
                # Two batches are under way, so that the server is never waiting for us.
                await ask()
                while asked:
                    if runs:
                        await ask()
                    sequence, count = asked.popleft()
                    for expected in range(sequence, sequence + count):
                        yield _chunk(await connection.next_message(subscription), expected)
                    _expect_end(await connection.next_message(subscription))
            finally:
                self._readers -= 1

    def _batch_chunks(self, body: BodyInfo) -> int:
        """Half of a reader's window, which is smaller where many read at the same time."""
        return max(1, min(self._window, _SHARED_WINDOW_BYTES // self._readers) // body.chunk_bytes // 2)

    async def _single(self, body: BodyInfo) -> bytes:
        subject = chunk_subject(body.owner, body.id)
        answer = await self._connection.request(f"$JS.API.DIRECT.GET.{object_stream(body.owner)}.{subject}")
        return _chunk(answer, body.runs[0][0] if body.runs else None)


def _runs_within(body: BodyInfo, first: int, last: int) -> list[tuple[int, int]]:
    """Chunks `first` to `last` as `(sequence, count)`, each within a run."""
    runs: list[tuple[int, int]] = []
    number = 0
    for sequence, count in body.runs:
        begin, end = max(first, number), min(last + 1, number + count)
        if begin < end:
            runs.append((sequence + begin - number, end - begin))
        number += count
    return runs


def _chunk(message: Msg, expected: int | None) -> bytes:
    """The bytes of a chunk; the one chunk of a small body has no expected sequence, and its digest tells."""
    headers = message.headers or {}
    if status(message) or expected not in (None, int(headers.get("Nats-Sequence", "-1"))):
        raise BodyLostError("A part of the stored body is gone; publish it again", reason=f"sequence {expected}")
    return message.data


def _expect_end(message: Msg) -> None:
    if status(message) != "204":
        raise BodyLostError("The stored body is longer than it was; publish it again")
