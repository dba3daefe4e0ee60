"""Verified streams: the last piece is held back until the digest holds. Large pieces are hashed in a thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Literal

from broker_plane.errors import DigestMismatchError

_IN_THREAD_BYTES = 1 << 18


class RunningDigest:
    """The digest of pieces in order. `add` may return before its piece is hashed; `hexdigest` waits for all."""

    def __init__(self, algorithm: Literal["sha256", "sha512"] = "sha256") -> None:
        self._digest = hashlib.new(algorithm)
        self._hashing: asyncio.Future[None] | None = None

    async def add(self, piece: bytes) -> None:
        await self._done()
        if len(piece) < _IN_THREAD_BYTES:
            self._digest.update(piece)
        else:
            self._hashing = asyncio.get_running_loop().run_in_executor(None, self._digest.update, piece)

    async def hexdigest(self) -> str:
        await self._done()
        return self._digest.hexdigest()

    async def _done(self) -> None:
        if self._hashing is not None:
            hashing, self._hashing = self._hashing, None
            await hashing


async def check_digest(raw: bytes, digest: str, damage: str) -> None:
    """Raise DigestMismatchError with the message `damage` unless `digest` is the SHA-256 (hex) of `raw`."""
    if len(raw) < _IN_THREAD_BYTES:
        found = hashlib.sha256(raw)
    else:
        found = await asyncio.get_running_loop().run_in_executor(None, hashlib.sha256, raw)
    if found.hexdigest() != digest:
        raise DigestMismatchError(damage)


async def verified(
    pieces: AsyncGenerator[bytes, None],
    digest: str,
    size: int | None = None,
    *,
    damage: str = "The received bytes are not the published ones; publish the body again",
    running: RunningDigest | None = None,
    complete: Callable[[], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The same pieces. A completed iteration is a verified read: an incomplete one lacks its last piece.

    `digest` is the expected SHA-256 (hex), `size` the expected number of bytes. `running` hashes the pieces, for
    callers that need the result as well; `complete` is called once both hold, before the last piece.

    Raises:
        DigestMismatchError: with the message `damage`; before the last piece is yielded.
    """
    hashed = running or RunningDigest()
    received = 0
    held = b""
    async with aclosing(pieces):
        async for piece in pieces:
            received += len(piece)
            if size is not None and received > size:
                raise DigestMismatchError("More bytes arrived than were published; publish the body again")
            await hashed.add(piece)
            if held:
                yield held
            held = piece
    if (size is not None and received != size) or await hashed.hexdigest() != digest:
        raise DigestMismatchError(damage)
    if complete is not None:
        complete()
    if held:
        yield held


async def held_back(
    pieces: AsyncGenerator[bytes, None], check: Callable[[], Awaitable[None]]
) -> AsyncGenerator[bytes, None]:
    """The same pieces; the last one only once `check` has returned. If `check` raises, the stream looks incomplete."""
    held = b""
    async with aclosing(pieces):
        async for piece in pieces:
            if held:
                yield held
            held = piece
    await check()
    if held:
        yield held
