"""Putting a body: its chunks go out with a window of bytes not yet acknowledged, and its meta is the commit."""

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
from broker_plane.plane.retry import patiently
from broker_plane.plane.tasks import abandoned
from broker_plane.storage.layout import purge
from broker_plane.storage.meta import write_meta
from broker_plane.storage.unacknowledged import Sent, Unacknowledged, outcome
from broker_plane.wire.body import BodyInfo, runs_of
from broker_plane.wire.presigned import IN_ANSWER_BYTES

CHUNK_BYTES = 1 << 19
ONE_MESSAGE_BYTES = 1_000_000
"""A body up to this is one message (rulings.md 9), read by one direct get."""

_PUT_WINDOW_BYTES = 4 << 20
_PURGE_SECONDS = 1.0
"""For a server that is just starting again; the one that stays away is not waited for, and chunks end by themselves."""

CHUNKS_OUTLIVE_SECONDS = 60
_MOST_SILENCE_SECONDS = ORPHAN_SECONDS - 60
"""Between two chunks of a put; after ten minutes a sweeper takes it for one whose process is gone."""

_SWEPT = "Chunks of this body were removed while it was being written; nothing of it was kept. Publish it again"

_PIPELINED_BYTES = IN_ANSWER_BYTES
"""A body up to this, in one chunk, is read by subject and needs no sequence in its meta, which need not wait for it."""


class Writer:
    """A body that is being put: buffers up to a chunk, keeps a window of chunks not acknowledged."""

    def __init__(self, connection: Connection, draft: Draft, max_body_bytes: int, *, write_only: bool = False) -> None:
        self.committed = False
        # Seconds are counted from here: no step of a wall clock makes a chunk's life shorter than its body's.
        self._ends = elapsed() + draft.expires - connection.clock.now()
        self._write_only = write_only
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
        if not elapsed() < self._ends:
            raise StorageError("The body expired before its last byte came; give it a longer ttl")
        if self._slow or (self._sent and elapsed() - self._sent_at > _MOST_SILENCE_SECONDS):
            raise StorageError(
                f"The source of this body was silent for more than {_MOST_SILENCE_SECONDS} s, after which its chunks "
                "may be gone; publish it again"
            )
        one_message = not self._sent
        if self._held_size:
            await self._send(self._take(self._held_size))
        while self._pending and (self._sent > 1 or self._size > _PIPELINED_BYTES):
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
        headers = {EXPECTED: "0", "Nats-TTL": self._ttl()}
        self._meta = await self._pending.send(
            self._names.meta_subject(draft.owner, draft.id), write_meta(body, self._names.bucket(draft.owner)), headers
        )
        # The meta of a small body travels right behind its one chunk; nobody has a grant before both are acknowledged.
        # A sweep writes in the place of the meta before it takes chunks, so they can be counted at the same time.
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
                await abandoned(whole)
        self.committed = True
        return body

    async def _is_barred(self) -> bool:
        """Whether a sweep has taken the place of the meta (plane/reclaim/orphans.py)."""
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
        if found < self._sent:  # one that was stored twice may still be there twice
            raise StorageError(_SWEPT, reason=f"{found} of {self._sent} chunks")

    def _ttl(self, longer: int = 0) -> str:
        return f"{max(1, ceil(self._ends + longer - elapsed()))}s"

    async def abort(self) -> None:
        """Remove our own chunks; what cannot be removed now ends with its time to live."""
        if self._sent:
            await asyncio.shield(self._remove())

    async def _remove(self) -> None:
        # A purge overtakes chunks that the stream has not taken in yet, so their fate is awaited first.
        await self._pending.settled(self._connection.timeout)
        subjects = [self._names.chunk_subject(self._draft.owner, self._draft.id)]
        if self._meta is not None:
            stored = await outcome(self._connection, self._meta)
            if stored is None:
                # It may be there, and its purge may be undone by a restart: a whole body for which nobody has a grant
                # is better than half of one.
                return
            if stored:
                subjects.insert(0, self._names.meta_subject(self._draft.owner, self._draft.id))
        with suppress(BrokerPlaneError):
            for subject in subjects:
                await patiently(partial(purge, self._connection, self._draft.owner, subject), _PURGE_SECONDS)

    async def _send(self, chunk: bytes) -> None:
        subject = self._names.chunk_subject(self._draft.owner, self._draft.id)
        headers = {"Nats-TTL": self._ttl(CHUNKS_OUTLIVE_SECONDS)}
        now = elapsed()
        self._slow = self._slow or (self._sent > 0 and now - self._sent_at > _MOST_SILENCE_SECONDS)
        await self._pending.send(subject, chunk, headers)
        self._sent_at = now
        self._sent += 1
        while self._pending.bytes > _PUT_WINDOW_BYTES:
            await self._acknowledge()

    async def _acknowledge(self) -> None:
        self._sequences.append(await self._pending.acknowledged())
