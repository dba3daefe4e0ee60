"""One block of a body in memory or on its way there, and the check of a body's SHA-256 over its blocks."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from broker_plane.errors import DigestMismatchError

PIECE_BYTES = 1 << 18
"""What a connection takes at a time: a thousand slow readers then hold the same piece, and no copies of their own."""


class Block:
    """A block of a body. Readers hold pieces of it and never the block, so that it can be dropped at any time."""

    def __init__(self) -> None:
        self.size = 0
        self.checked = False
        """Whether it was handed to the check of its body, or needs none."""
        self.pieces: list[bytes] = []
        self._starts: list[int] = []
        self._failure: BaseException | None = None
        self._here = asyncio.Event()

    @property
    def here(self) -> bool:
        """Whether its bytes are in memory."""
        return self._here.is_set() and self._failure is None

    async def wait(self) -> None:
        """Return when its bytes are here. Raises what its read raised."""
        await self._here.wait()
        if self._failure is not None:
            raise self._failure

    def fill(self, chunks: Sequence[bytes], piece_bytes: int) -> None:
        """Its bytes are `chunks`, to be handed out in pieces of `piece_bytes`."""
        for chunk in chunks:
            for begin in range(0, len(chunk), piece_bytes):
                self._starts.append(self.size)
                self.pieces.append(chunk[begin : begin + piece_bytes])
                self.size += len(self.pieces[-1])
        self._here.set()

    def fail(self, error: BaseException) -> None:
        """Its bytes will not come."""
        self._failure = error
        self._here.set()

    def piece(self, start: int, stop: int) -> bytes:
        """Some bytes from `start` on, none of them beyond `stop`; empty where the block ends before `start`."""
        place = bisect_right(self._starts, start) - 1
        if place < 0:
            return b""
        begin, end = start - self._starts[place], stop - self._starts[place]
        piece = self.pieces[place]
        return piece if begin == 0 and end >= len(piece) else piece[begin:end]


class Check:
    """The SHA-256 of a body whose blocks come in any number of reads.

    The first pass keeps the state of the hash after each block. A block that is read again later, because it was
    dropped in between, must lead from the state before it to the same state after it.
    """

    def __init__(self, blocks: int, digest: str) -> None:
        self.added = 0
        """How many blocks from the first on were added; no block beyond that can be."""
        self._states: list[Any] = [sha256()]
        self._blocks = blocks
        self._digest = digest
        self._last: asyncio.Task[None] | None = None

    async def add(self, number: int, block: Block) -> None:
        """Hash a block in a thread. Returns when the one before it is hashed: at most one is held for this."""
        if block.checked:
            return
        block.checked = True
        self.added = max(self.added, number + 1)
        before, self._last = self._last, asyncio.create_task(self._hash(number, block.pieces, self._last))
        if before is not None:
            await asyncio.wait({before})

    async def settled(self) -> None:
        """Everything added so far is what was stored.

        Raises:
            DigestMismatchError: it is not.
        """
        last = self._last
        if last is not None:
            await asyncio.wait({last})
            last.result()

    async def _hash(self, number: int, pieces: Sequence[bytes], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before  # and fail as that one did
        state = self._states[number].copy()
        await asyncio.get_running_loop().run_in_executor(None, _update, state, pieces)
        if number + 1 < len(self._states):
            right = state.digest() == self._states[number + 1].digest()
        else:
            self._states.append(state)
            right = number + 1 < self._blocks or state.hexdigest() == self._digest
        if not right:
            raise DigestMismatchError("The stored body is damaged: its SHA-256 does not hold. Publish it again")


def _update(state: Any, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        state.update(piece)
