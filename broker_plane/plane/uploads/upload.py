"""One upload: its state, the port to its chunks, and the bytes of one request on their way into chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from broker_plane.errors import BrokerPlaneError, TooLargeError
from broker_plane.plane.grants.grants import Opened
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId
from broker_plane.wire.upload import UploadRecord

_KEEP_SECONDS = 5.0
"""Time for keeping the bytes of a request that broke off."""


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far the chunks go: `end` in bytes, `last` the sequence of the last one in the stream (0: there is none).

    `tail` has the bytes after the last whole chunk, and `tail_at` its sequence.
    """

    end: int = 0
    last: int = 0
    tail: bytes = b""
    tail_at: int = 0

    @property
    def offset(self) -> int:
        return self.end + len(self.tail)


class PartialUploadStore(Protocol):
    """The chunks of bodies that are not committed yet."""

    @property
    def chunk_bytes(self) -> int:
        """The chunk size of new uploads."""

    async def prepare(self, owner: str) -> None:
        """Make sure that the owner's bucket exists."""

    async def reached(self, owner: str, body_id: BodyId) -> UploadProgress:
        """How far the acknowledged chunks go."""

    async def add(self, owner: str, body_id: BodyId, chunk: bytes, end: int, after: int, expires: int) -> int:
        """Store `chunk`, which ends at `end`, and return its sequence once it is acknowledged.

        Raises:
            ConflictError: the last chunk is not the one with sequence `after`. StoreFullError, BrokerUnavailableError.
        """

    async def keep(self, owner: str, body_id: BodyId, tail: bytes, end: int, after: int, expires: int) -> int:
        """Replace the tail by `tail`, which ends at `end`. Raises as `add`."""

    async def remove(self, owner: str, body_id: BodyId, place: int) -> None:
        """Delete the chunk with this sequence, which is the last one. Raises BrokerUnavailableError."""

    def chunks(self, owner: str, body_id: BodyId) -> AsyncGenerator[tuple[int, bytes], None]:
        """Every chunk with its sequence, in order, without the tail."""

    async def commit(self, body: BodyInfo) -> None:
        """Make the body readable. Raises ConflictError if it was already."""

    async def free(self, owner: str, body_id: BodyId) -> None:
        """Delete everything of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload as one request finds it. `body` is what it became; `record` is None before it was created."""

    opened: Opened
    most: int
    record: UploadRecord | None = None
    revision: int = 0
    reached: UploadProgress = UploadProgress()
    body: BodyInfo | None = None

    @property
    def owner(self) -> str:
        return self.opened.owner

    @property
    def id(self) -> BodyId:
        return self.opened.grant.body

    @property
    def offset(self) -> int:
        return self.body.size if self.body else self.reached.offset

    @property
    def length(self) -> int | None:
        if self.body:
            return self.body.size
        return self.record.length if self.record else None

    @property
    def expires(self) -> int:
        """The deadline of the upload in unix seconds; the body lives until the root grant expires."""
        return self.opened.grant.expires


class UploadWriter:
    """Writes the bytes of one request into chunks."""

    def __init__(self, parts: PartialUploadStore, upload: Upload) -> None:
        self.reached = upload.reached
        self._parts = parts
        self._upload = upload
        self._chunk_bytes = upload.record.chunk_bytes if upload.record else 1
        self._buffer = bytearray(upload.reached.tail)
        self._added: list[int] = []

    @property
    def offset(self) -> int:
        return self.reached.end + len(self._buffer)

    async def take(self, piece: bytes) -> None:
        offset = self.offset + len(piece)
        if offset > self._upload.most:
            raise too_large(self._upload.most)
        if self._upload.length is not None and offset > self._upload.length:
            raise TooLargeError(f"The upload declared {self._upload.length} bytes; this would be more")
        self._buffer += piece
        while len(self._buffer) >= self._chunk_bytes:
            chunk = bytes(memoryview(self._buffer)[: self._chunk_bytes])
            await self._add(chunk)
            del self._buffer[: self._chunk_bytes]

    async def close(self) -> None:
        """Write the rest as the last chunk."""
        if self._buffer:
            await self._add(bytes(self._buffer))
            self._buffer.clear()

    async def undo(self) -> None:
        """Drop these bytes: the upload is as it was found. A repeat continues where this broke off."""
        while self._added:
            await self._parts.remove(self._upload.owner, self._upload.id, self._added[-1])
            self._added.pop()

    async def keep(self, *, strictly: bool = False) -> None:
        """Store the rest as the tail; if that fails, it is retried, unless that is not allowed."""
        if bytes(self._buffer) == self.reached.tail:
            return
        with suppress(*(() if strictly else (BrokerPlaneError, TimeoutError))):
            async with asyncio.timeout(_KEEP_SECONDS):
                tail, reached = bytes(self._buffer), self.reached
                place = await self._parts.keep(
                    self._upload.owner, self._upload.id, tail, self.offset, reached.tail_at, self._until
                )
                self.reached = replace(reached, tail=tail, tail_at=place)

    @property
    def _until(self) -> int:
        return self._upload.opened.grant.remembered_until

    async def _add(self, chunk: bytes) -> None:
        end = self.reached.end + len(chunk)
        upload = self._upload
        place = await self._parts.add(upload.owner, upload.id, chunk, end, self.reached.last, self._until)
        self._added.append(place)
        self.reached = replace(self.reached, end=end, last=place, tail=b"")


def too_large(most: int) -> TooLargeError:
    """The error for more than `most` bytes."""
    return TooLargeError(f"This upload may have at most {most} bytes")
