"""Bodies as ADR-20 objects, so that any NATS client can read them: chunks first, the meta message is the commit.

nats-py's own ObjectStore is not used: its get copies quadratically, waits 250 ms per window and hangs on a missing
chunk. Chunks are written with a window of unacknowledged bytes (putting.py). They are read by batched direct gets
(ADR-31) of exactly the sequences in the body info, so a chunk that another program wrote on the subject is never read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress

import orjson

from broker_plane.broker.batches import Batches
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import chunk_request, sequence_of
from broker_plane.broker.in_flight import InFlight
from broker_plane.broker.leader import every, existing, fixed
from broker_plane.broker.messages import Message
from broker_plane.errors import (
    BodyLostError,
    BodyNotFoundError,
    BrokerPlaneError,
    DigestMismatchError,
)
from broker_plane.plane.bodies.digest import check_digest, verified
from broker_plane.plane.ports import Draft
from broker_plane.plane.reclaim.deletions import DeletionRecord
from broker_plane.storage.layout import ensure_bodies, purge
from broker_plane.storage.meta import read_meta
from broker_plane.storage.putting import MAX_SILENCE_SECONDS, Writer
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId

_DAMAGED = "The stored body is damaged: its SHA-256 does not hold. Publish it again"


class NatsBodyStore:
    """The BodyStore port on JetStream. At most `read_window` bytes are requested and not yet read.

    Deletions are noted in the `ledger`. A resource server's store is `write_only`: it may only publish, so it creates
    no bucket and deletes nothing, and the chunks of an interrupted body expire.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        replicas: int = 1,
        max_body_bytes: int = 64 << 30,
        read_window: int = 4 << 20,
        write_only: bool = False,
        ledger: DeletionRecord | None = None,
        max_silence_seconds: float = MAX_SILENCE_SECONDS,
    ) -> None:
        """`max_silence_seconds` is the longest gap between two chunks of a body that is written."""
        self._connection = connection
        self._names = connection.names
        self._max_body_bytes = max_body_bytes
        self._window = read_window
        self._readers = 0
        self._write_only = write_only
        self._ledger = ledger
        self._max_silence_seconds = max_silence_seconds
        self._ready_owners: set[str] = set()

    @asynccontextmanager
    async def writer(self, draft: Draft) -> AsyncIterator[Writer]:
        if not self._write_only and draft.owner not in self._ready_owners:
            await ensure_bodies(self._connection, draft.owner)
            self._ready_owners.add(draft.owner)
        writer = Writer(
            self._connection,
            draft,
            self._max_body_bytes,
            write_only=self._write_only,
            max_silence_seconds=self._max_silence_seconds,
        )
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
        answer = await existing(
            self._connection,
            self._names.object_stream(owner),
            self._names.meta_subject(owner, body_id),
        )
        if answer is None:
            raise BodyNotFoundError("This body is not stored any more: it was deleted or has expired")
        body = read_meta(answer.data, owner)
        if body.id != body_id:
            raise BodyNotFoundError("The stored object of this name is another body")
        return body

    def held(self, body: BodyInfo) -> bytes | None:
        """Nothing is kept in memory."""
        return None

    async def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        stop = body.size if stop is None else min(stop, body.size)
        whole = start == 0 and stop == body.size
        if whole and body.chunks == 1:  # most bodies: one message, and no stream of pieces
            chunk = await self._single(body)
            if len(chunk) != body.size:
                raise DigestMismatchError(_DAMAGED)
            await check_digest(chunk, body.digest, _DAMAGED)
            yield chunk
            return
        chunks = self._chunks(body, start, stop)
        async with aclosing(verified(chunks, body.digest, body.size, damage=_DAMAGED) if whole else chunks) as pieces:
            async for piece in pieces:
                yield piece

    async def list(self, owner: str) -> AsyncIterator[BodyInfo]:
        stream = self._names.object_stream(owner)
        subject = self._names.meta_subjects(owner)
        async for message in every(self._connection, stream, subject):
            if message.data:
                with suppress(BrokerPlaneError):  # an object that another program put into the bucket
                    yield read_meta(message.data, owner)

    async def watch(self, owner: str) -> AsyncGenerator[BodyInfo, None]:
        """New bodies of `owner` as they are committed, from now on; for people who watch, and not durable."""
        async with self._connection.subscribe(self._names.meta_subjects(owner)) as subscription:
            while True:
                with suppress(BrokerPlaneError):
                    message = await subscription.next(None)
                    # A core subscription gets the message before the stream has accepted or refused it.
                    yield await self.info(owner, read_meta(message.data, owner).id)

    async def delete(self, owner: str, body_id: BodyId) -> None:
        body = await self.info(owner, body_id)
        if self._ledger is not None:
            await self._ledger.deleting(body_id, body.expires)
        await purge(self._connection, owner, self._names.meta_subject(owner, body_id))
        await purge(self._connection, owner, self._names.chunk_subject(owner, body_id))

    async def _chunks(self, body: BodyInfo, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to `stop`, chunk by chunk, in order."""
        if start >= stop:
            return
        first, last = start // body.chunk_bytes, (stop - 1) // body.chunk_bytes
        number = first
        async with aclosing(self._messages(body, first, last)) as chunks:
            async for chunk in chunks:
                begin = max(0, start - number * body.chunk_bytes)
                end = min(len(chunk), stop - number * body.chunk_bytes)
                yield chunk if (begin, end) == (0, len(chunk)) else chunk[begin:end]
                number += 1

    async def _messages(self, body: BodyInfo, first: int, last: int) -> AsyncGenerator[bytes, None]:
        if body.chunks == 1:
            yield await self._single(body)
            return
        with InFlight(self._connection.reads, body.owner, body.chunk_bytes) as flight:
            self._readers += 1
            try:
                async with aclosing(self._batches(body, _runs_within(body, first, last), flight)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                self._readers -= 1

    async def _batches(
        self, body: BodyInfo, runs: Sequence[tuple[int, int]], flight: InFlight
    ) -> AsyncGenerator[bytes, None]:
        """Every chunk of `runs`. If the budget allows, two batches are under way, so that the server never waits."""
        connection, waiting = self._connection, deque(_batches_of(runs, self._batch_chunks(body)))
        inbox = connection.inbox()
        async with connection.subscribe(f"{inbox}.*", flight.arrived) as subscription:
            batches = Batches(connection, self._names.object_stream(body.owner), subscription)
            requested: deque[tuple[int, int]] = deque()
            while requested or waiting:
                if not requested:
                    flight.landed()
                    await flight.take(waiting[0][1])
                    requested.append(await self._request(body, *waiting.popleft(), inbox))
                if len(requested) == 1 and waiting and flight.take_now(waiting[0][1]):
                    requested.append(await self._request(body, *waiting.popleft(), inbox))
                sequence, count = requested.popleft()
                async with aclosing(batches.messages(f"{inbox}.{sequence}", sequence, count)) as messages:
                    async for expected, message in messages:
                        yield _chunk(message, expected)

    async def _request(self, body: BodyInfo, sequence: int, count: int, inbox: str) -> tuple[int, int]:
        fields = chunk_request(self._names, body, sequence, count)
        subject = f"{self._connection.js_api}.DIRECT.GET.{self._names.object_stream(body.owner)}"
        await self._connection.publish(subject, orjson.dumps(fields), reply=f"{inbox}.{sequence}")
        return sequence, count

    def _batch_chunks(self, body: BodyInfo) -> int:
        """Half of a reader's window, which is smaller while many read at the same time."""
        window = min(self._window, self._connection.reads.limit // self._readers)
        return max(1, window // body.chunk_bytes // 2)

    async def _single(self, body: BodyInfo) -> bytes:
        subject = self._names.chunk_subject(body.owner, body.id)
        with InFlight(self._connection.reads, body.owner, body.chunk_bytes) as flight:
            await flight.take(1)
            message = await fixed(self._connection, self._names.object_stream(body.owner), subject)
        return _chunk(message, body.runs[0][0] if body.runs else None)


def _batches_of(runs: Sequence[tuple[int, int]], most: int) -> Iterator[tuple[int, int]]:
    """`runs` in batches of at most `most` chunks."""
    for first, count in runs:
        for begin in range(0, count, most):
            yield first + begin, min(most, count - begin)


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


def _chunk(message: Message | None, expected: int | None) -> bytes:
    """The bytes of a chunk. The one chunk of a small body has no expected sequence; its digest is checked instead."""
    if message is None or expected not in (None, sequence_of(message)):
        raise BodyLostError("A part of the stored body is lost; publish it again", reason=f"sequence {expected}")
    return message.data
