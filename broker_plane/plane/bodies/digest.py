"""Digests beside the event loop: a large piece is hashed by a thread while the next one comes."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Literal

_IN_THREAD_BYTES = 1 << 18


class RunningDigest:
    """The digest of pieces in their order. `add` may return before its piece is hashed, `hexdigest` waits for all."""

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
