"""Bodies as ADR-20 objects, so that any NATS client can read them: chunks first, the meta message is the commit.

nats-py's own ObjectStore is not used: its get copies quadratically, waits 250 ms a window and hangs on a missing chunk.
Chunks go out with a window of bytes not yet acknowledged; they come in by batched direct gets (ADR-31) of exactly the
sequences that the body info names, so a chunk that somebody else wrote on the subject is never read.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from math import ceil
from time import monotonic, time
from typing import Any

import orjson
from nats.aio.msg import Msg

from broker_plane.errors import (
    BodyLostError,
    BodyNotFoundError,
    BrokerAwayError,
    BrokerPlaneError,
    DigestMismatchError,
    StorageError,
    TooLargeError,
)
from broker_plane.plane.digest import RunningDigest
from broker_plane.plane.ledger import Ledger
from broker_plane.plane.patience import patiently
from broker_plane.plane.ports import Draft, Shape
from broker_plane.plane.sweeping import ORPHAN_SECONDS
from broker_plane.storage.connection import Connection
from broker_plane.storage.direct import batch, sequence_of, status
from broker_plane.storage.streams import ensure_bodies
from broker_plane.wire.body import BodyInfo, runs_of, unpack_body_info
from broker_plane.wire.names import BodyId, bucket_of, chunk_subject, encode_id, meta_subject, object_stream
from broker_plane.wire.presigned import IN_ANSWER_BYTES

CHUNK_BYTES = 1 << 19
ONE_MESSAGE_BYTES = 1_000_000
"""A body up to this is one message (rulings.md 9), read by one direct get."""

_PUT_WINDOW_BYTES = 4 << 20
_SHARED_WINDOW_BYTES = 32 << 20
"""Asked for and not yet read by all readers of a process together, though each has two chunks at least."""

_PURGE_SECONDS = 1.0
"""For a server that is just starting again; the one that stays away is not waited for, and chunks end by themselves."""

CHUNKS_OUTLIVE_SECONDS = 60
_MOST_SILENCE_SECONDS = ORPHAN_SECONDS - 60
"""Between two chunks of a put; after ten minutes a sweeper takes it for one whose process is gone."""

_PIPELINED_BYTES = IN_ANSWER_BYTES
"""A body up to this is read by subject and needs no sequence in its meta, which therefore need not wait for it."""

_METADATA = "broker-plane"
_METAS = 256
"""Meta messages that are not parsed again; each pull reads its body's, and one that is the same says the same."""


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
    async def writer(self, draft: Draft) -> AsyncIterator[_Writer]:
        if not self._write_only and draft.owner not in self._ready_owners:
            await ensure_bodies(self._connection, draft.owner, self._replicas)
            self._ready_owners.add(draft.owner)
        writer = _Writer(self._connection, draft, self._max_body_bytes)
        try:
            yield writer
        except BaseException:
            await self._abort(writer)
            raise
        if not writer.committed:
            await self._abort(writer)

    async def _abort(self, writer: _Writer) -> None:
        if not self._write_only:
            await writer.abort()

    async def info(self, owner: str, body_id: BodyId) -> BodyInfo:
        subject = f"$JS.API.DIRECT.GET.{object_stream(owner)}.{meta_subject(owner, body_id)}"
        answer = await self._connection.request(subject)
        if status(answer) == "404":
            raise BodyNotFoundError("This body is not stored any more: it was deleted or has expired")
        body = _read_meta(answer.data, owner)
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
                        yield _read_meta(message.data, owner)
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
                    yield await self.info(owner, _read_meta(message.data, owner).id)

    async def delete(self, owner: str, body_id: BodyId) -> None:
        body = await self.info(owner, body_id)
        if self._ledger is not None:
            await self._ledger.deleting(body_id, body.expires)
        await _purge(self._connection, owner, meta_subject(owner, body_id))
        await _purge(self._connection, owner, chunk_subject(owner, body_id))

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


class _Writer:
    """A body that is being put: buffers up to a chunk, keeps a window of chunks not acknowledged."""

    def __init__(self, connection: Connection, draft: Draft, max_body_bytes: int) -> None:
        self.committed = False
        self._connection = connection
        self._draft = draft
        self._max_body_bytes = max_body_bytes
        self._one_message = min(ONE_MESSAGE_BYTES, connection.max_payload - 8192)
        self._chunk_bytes = min(CHUNK_BYTES, self._one_message)
        self._held: deque[bytes | memoryview] = deque()
        self._held_size = 0
        self._pending: deque[tuple[asyncio.Future[Msg], int]] = deque()
        self._pending_bytes = 0
        self._digest = RunningDigest()
        self._size = 0
        self._sequences: list[int] = []
        self._sent = 0
        self._sent_at = 0.0
        self._slow = False
        self._meta: asyncio.Future[Msg] | None = None

    async def write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_body_bytes:
            raise TooLargeError(
                f"The body is above {self._max_body_bytes} bytes (BROKER_PLANE_MAX_BODY_BYTES); nothing was kept"
            )
        await self._digest.add(piece)
        self._held.append(piece)
        self._held_size += len(piece)
        # As long as it may still be one message, it stays here.
        while self._held_size > self._one_message or (self._sent and self._held_size >= self._chunk_bytes):
            await self._send(self._take(self._chunk_bytes))

    def _take(self, count: int) -> bytes:
        """The first `count` bytes of what is held. A piece of just that size is not copied."""
        self._held_size -= count
        taken: list[bytes | memoryview] = []
        while count:
            piece = self._held.popleft()
            if len(piece) > count:
                view = memoryview(piece)
                self._held.appendleft(view[count:])
                piece = view[:count]
            taken.append(piece)
            count -= len(piece)
        return taken[0] if len(taken) == 1 and isinstance(taken[0], bytes) else b"".join(taken)

    async def commit(self, shape: Shape) -> BodyInfo:
        draft = self._draft
        if not time() < draft.expires:
            raise StorageError("The body expired before its last byte came; give it a longer ttl")
        if self._slow or (self._sent and monotonic() - self._sent_at > _MOST_SILENCE_SECONDS):
            raise StorageError(
                f"The source of this body was silent for more than {_MOST_SILENCE_SECONDS} s, after which its chunks "
                "may be gone; publish it again"
            )
        one_message = not self._sent
        if self._held_size:
            await self._send(self._take(self._held_size))
        while self._pending and self._size > _PIPELINED_BYTES:
            await self._acknowledge()
        body = BodyInfo(
            id=draft.id,
            owner=draft.owner,
            kind=draft.kind,
            size=self._size,
            digest=await self._digest.hexdigest(),
            media_type=draft.media_type,
            name=draft.name,
            created=draft.created,
            expires=draft.expires,
            collect=draft.collect,
            feed=draft.feed,
            rows=shape.rows,
            columns=shape.columns,
            table=shape.table,
            chunks=self._sent,
            chunk_bytes=max(1, self._size) if one_message else self._chunk_bytes,
            runs=runs_of(self._sequences),
        )
        headers = {"Nats-Expected-Last-Subject-Sequence": "0", "Nats-TTL": _ttl(draft.expires)}
        meta = await self._connection.send(meta_subject(draft.owner, draft.id), write_meta(body), headers)
        self._meta = meta
        # The meta of a small body travels right behind its one chunk; nobody has a grant before both are acknowledged.
        while self._pending:
            await self._acknowledge()
        await self._connection.acknowledged(meta)
        self.committed = True
        return body

    async def abort(self) -> None:
        """Remove our own chunks; what cannot be removed now ends with its time to live."""
        if self._sent:
            await asyncio.shield(self._remove())

    async def _remove(self) -> None:
        # A purge overtakes chunks that the stream has not taken in yet, so their fate is awaited first.
        futures = [future for future, _ in self._pending]
        if futures:
            await asyncio.wait(futures, timeout=self._connection.timeout)
        subjects = [chunk_subject(self._draft.owner, self._draft.id)]
        if self._meta is not None:
            try:
                await self._connection.acknowledged(self._meta)
                subjects.insert(0, meta_subject(self._draft.owner, self._draft.id))
            except BrokerAwayError:
                # It may be there, and its purge may be undone by a restart: a whole body for which nobody has a grant
                # is better than half of one.
                return
            except StorageError:  # refused
                pass
        with suppress(BrokerPlaneError):
            for subject in subjects:
                await patiently(partial(_purge, self._connection, self._draft.owner, subject), _PURGE_SECONDS)

    async def _send(self, chunk: bytes) -> None:
        subject = chunk_subject(self._draft.owner, self._draft.id)
        headers = {"Nats-TTL": _ttl(self._draft.expires + CHUNKS_OUTLIVE_SECONDS)}
        now = monotonic()
        self._slow = self._slow or (self._sent > 0 and now - self._sent_at > _MOST_SILENCE_SECONDS)
        future = await self._connection.send(subject, chunk, headers)
        self._sent_at = now
        self._sent += 1
        self._pending.append((future, len(chunk)))
        self._pending_bytes += len(chunk)
        while self._pending_bytes > _PUT_WINDOW_BYTES:
            await self._acknowledge()

    async def _acknowledge(self) -> None:
        future, size = self._pending[0]
        ack = await self._connection.acknowledged(future)
        self._pending.popleft()
        self._pending_bytes -= size
        self._sequences.append(ack["seq"])


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


def _ttl(until: int) -> str:
    return f"{max(1, ceil(until - time()))}s"


async def _purge(connection: Connection, owner: str, subject: str) -> None:
    await connection.api(f"STREAM.PURGE.{object_stream(owner)}", {"filter": subject})


def write_meta(body: BodyInfo) -> bytes:
    """ADR-20 object info; what it has no member for stands in `metadata` as text."""
    return orjson.dumps(
        {
            "name": body.id,
            "bucket": object_stream(body.owner).removeprefix("OBJ_"),
            "nuid": body.id,
            "size": body.size,
            "chunks": body.chunks,
            "digest": "SHA-256=" + urlsafe_b64encode(bytes.fromhex(body.digest)).decode(),
            "mtime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "options": {"max_chunk_size": body.chunk_bytes},
            "headers": {"Content-Type": [body.media_type]},
            "metadata": {_METADATA: encode_id(body.pack())},
        }
    )


@lru_cache(_METAS)
def _read_meta(raw: bytes, owner: str) -> BodyInfo:
    """The body info in a meta message of the bucket of `owner`, who may write there what it likes.

    One that says that it is another owner's body is none: its bytes would be read out of that one's bucket.
    """
    try:
        packed = orjson.loads(raw)["metadata"][_METADATA]
        body = unpack_body_info(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except (KeyError, TypeError, ValueError) as error:
        raise BodyNotFoundError("There is an object of this name, and it is no body of broker-plane") from error
    if body.owner != owner:
        raise BodyNotFoundError("There is an object of this name, and it says that it is another owner's")
    return body
