"""Writes a body: chunks are sent with a window of unacknowledged bytes, and the meta is the commit."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial
from math import ceil

from broker_plane.broker.clock import elapsed
from broker_plane.broker.conditional import EXPECTED
from broker_plane.broker.connection import Connection
from broker_plane.broker.leader import newest
from broker_plane.errors import BrokerPlaneError, ConflictError, StorageError, TooLargeError
from broker_plane.plane.bodies.digest import RunningDigest
from broker_plane.plane.ports import Draft, Shape
from broker_plane.plane.reclaim.orphans import ORPHAN_SECONDS
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.storage.layout import purge
from broker_plane.storage.meta import write_meta
from broker_plane.storage.unacknowledged import Sent, Unacknowledged, outcome
from broker_plane.wire.body import BodyInfo, runs_of
from broker_plane.wire.presigned_sizes import IN_ANSWER_BYTES

CHUNK_BYTES = 1 << 19
ONE_MESSAGE_BYTES = 1_000_000
"""A body up to this size is one message, so that one direct get reads it (docs/decisions/0029)."""

_WINDOW_BYTES = 4 << 20
_PURGE_SECONDS = 1.0
"""Enough for a server that is just restarting. If it stays unavailable, the chunks expire by themselves."""

CHUNKS_OUTLIVE_SECONDS = 60
MAX_SILENCE_SECONDS = ORPHAN_SECONDS - 60
"""Between two chunks. After ten minutes, the garbage collection assumes that the writing process has ended."""

_SWEPT = "Chunks of this body were deleted while it was being written; nothing of it was kept. Publish it again"

_PIPELINED_BYTES = IN_ANSWER_BYTES
"""A body of one chunk up to this size is read by subject: its meta needs no sequence and need not wait for it."""


class Writer:
    """A body that is being written: buffers up to a chunk, and keeps a window of chunks that are not acknowledged."""

    def __init__(
        self,
        connection: Connection,
        draft: Draft,
        max_body_bytes: int,
        *,
        write_only: bool = False,
        max_silence_seconds: float = MAX_SILENCE_SECONDS,
    ) -> None:
        """With `write_only` nothing may be read or deleted; `max_silence_seconds` is the longest gap between chunks."""
        self.committed = False
        # Lifetimes are counted from here, so that no step of a wall clock makes a chunk expire before its body.
        self._ends = elapsed() + draft.expires - connection.clock.now()
        self._write_only = write_only
        self._max_silence_seconds = max_silence_seconds
        self._connection = connection
        self._names = connection.names
        self._draft = draft
        self._max_body_bytes = max_body_bytes
        self._one_message = min(ONE_MESSAGE_BYTES, connection.max_payload - 8192)
        self._chunk_bytes = min(CHUNK_BYTES, self._one_message)
        self._held: deque[bytes | memoryview] = deque()
        self._held_size = 0
        self._pending = Unacknowledged(connection, draft.id)
        self._digest = RunningDigest()
        self._size = 0
        self._sequences: list[int] = []
        self._sent = 0
        self._sent_at = 0.0
        self._slow = False
        self._meta: Sent | None = None

    async def write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_body_bytes:
            raise TooLargeError(
                f"The body exceeds {self._max_body_bytes} bytes (BROKER_PLANE_MAX_BODY_BYTES); nothing was kept"
            )
        await self._digest.add(piece)
        self._held.append(piece)
        self._held_size += len(piece)
        # It stays here as long as it may still become one message.
        while self._held_size > self._one_message or (self._sent and self._held_size >= self._chunk_bytes):
            await self._send(self._take(self._chunk_bytes))

    def _was_silent(self) -> bool:
        """Whether the gap between two chunks, or after the last one, was ever too long."""
        return self._slow or (self._sent > 0 and elapsed() - self._sent_at > self._max_silence_seconds)

    def _take(self, count: int) -> bytes:
        """The first `count` held bytes. A piece of exactly that size is not copied."""
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
        if not elapsed() < self._ends:
            raise StorageError("The body expired before its last byte arrived; use a longer ttl")
        if self._was_silent():
            raise StorageError(
                f"The source of this body was silent for more than {self._max_silence_seconds:g} s, after which its "
                "chunks may be deleted; publish it again"
            )
        one_message = not self._sent
        if self._held_size:
            await self._send(self._take(self._held_size))
        while self._pending and (self._sent > 1 or self._size > _PIPELINED_BYTES):
            await self._acknowledge()
        body = await self._described(shape, max(1, self._size) if one_message else self._chunk_bytes)
        headers = {EXPECTED: "0", "Nats-TTL": self._ttl()}
        meta = write_meta(body, self._names.bucket(draft.owner))
        self._meta = await self._pending.send(self._names.meta_subject(draft.owner, draft.id), meta, headers)
        # The meta of a small body is sent right after its one chunk; nobody gets a grant before both are acknowledged.
        # A sweep writes in the place of the meta before it deletes chunks, so they can be counted at the same time.
        whole = asyncio.create_task(self._check_whole()) if self._sent > 1 and not self._write_only else None
        try:
            while self._pending:
                await self._acknowledge()
            if whole is not None:
                await whole
        except ConflictError as error:
            if await self._is_barred():
                raise StorageError(_SWEPT, reason=error.reason) from error
            raise
        finally:
            if whole is not None:
                await cancel_and_forget(whole)
        self.committed = True
        return body

    async def _described(self, shape: Shape, chunk_bytes: int) -> BodyInfo:
        """The body info of what was sent."""
        draft = self._draft
        return BodyInfo(
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
            chunk_bytes=chunk_bytes,
            runs=runs_of(self._sequences),
        )

    async def _is_barred(self) -> bool:
        """Whether a sweep has written in the place of the meta (plane/reclaim/orphans.py)."""
        if self._write_only:
            return True
        owner = self._draft.owner
        there = await newest(
            self._connection,
            self._names.object_stream(owner),
            self._names.meta_subject(owner, self._draft.id),
        )
        return there is None or not there.data

    async def _check_whole(self) -> None:
        """Raise unless the stream has all chunks."""
        subject = self._names.chunk_subject(self._draft.owner, self._draft.id)
        info = await self._connection.retrying_api(
            f"STREAM.INFO.{self._names.object_stream(self._draft.owner)}", {"subjects_filter": subject}
        )
        found = (info["state"].get("subjects") or {}).get(subject, 0)
        if found < self._sent:  # a chunk that was stored twice may still count twice
            raise StorageError(_SWEPT, reason=f"{found} of {self._sent} chunks")

    def _ttl(self, longer: int = 0) -> str:
        return f"{max(1, ceil(self._ends + longer - elapsed()))}s"

    async def abort(self) -> None:
        """Delete our own chunks; what cannot be deleted now expires."""
        if self._sent:
            await asyncio.shield(self._remove())

    async def _remove(self) -> None:
        # A purge can overtake chunks that the stream has not handled yet, so their outcome is awaited first.
        await self._pending.settled(self._connection.timeout)
        subjects = [self._names.chunk_subject(self._draft.owner, self._draft.id)]
        if self._meta is not None:
            stored = await outcome(self._connection, self._meta)
            if stored is None:
                # It may be stored, and a restart may undo its purge: a whole body for which nobody has a grant is
                # better than half of one.
                return
            if stored:
                subjects.insert(0, self._names.meta_subject(self._draft.owner, self._draft.id))
        with suppress(BrokerPlaneError):
            for subject in subjects:
                await retry_while_retryable(
                    partial(purge, self._connection, self._draft.owner, subject), _PURGE_SECONDS
                )

    async def _send(self, chunk: bytes) -> None:
        subject = self._names.chunk_subject(self._draft.owner, self._draft.id)
        headers = {"Nats-TTL": self._ttl(CHUNKS_OUTLIVE_SECONDS)}
        self._slow = self._was_silent()
        sent_at = elapsed()
        await self._pending.send(subject, chunk, headers)
        self._sent_at = sent_at
        self._sent += 1
        while self._pending.bytes > _WINDOW_BYTES:
            await self._acknowledge()

    async def _acknowledge(self) -> None:
        self._sequences.append(await self._pending.acknowledged())
