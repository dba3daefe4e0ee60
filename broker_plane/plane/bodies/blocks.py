"""One block of a body, in memory or on its way there, and the verification of a body's SHA-256 over its blocks."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from threading import Lock
from typing import Any

from broker_plane.errors import DigestMismatchError

PIECE_BYTES = 1 << 18
"""The size of the pieces that connections send: a thousand slow readers then hold the same piece instead of copies."""

_MOST_WAITING = 2
"""Maximum number of blocks of a body that wait to be hashed."""


class Block:
    """A block of a body. Readers hold pieces of it and never the block, so that it can be dropped at any time."""

    def __init__(self) -> None:
        self.size = 0
        self.checked = False
        """Whether it was handed to the verification of its body, or needs none."""
        self.pieces: list[bytes] = []
        self._starts: list[int] = []
        self._failure: BaseException | None = None
        self._here = asyncio.Event()

    @property
    def here(self) -> bool:
        """Whether its bytes are in memory."""
        return self._here.is_set() and self._failure is None

    async def wait(self) -> None:
        """Wait for its bytes. Raises the error of its read."""
        await self._here.wait()
        if self._failure is not None:
            raise self._failure

    def fill(self, chunks: Sequence[bytes], piece_bytes: int) -> None:
        """Set its bytes to `chunks`, to be handed out in pieces of `piece_bytes`."""
        for chunk in chunks:
            for begin in range(0, len(chunk), piece_bytes):
                self._starts.append(self.size)
                self.pieces.append(chunk[begin : begin + piece_bytes])
                self.size += len(self.pieces[-1])
        self._here.set()

    def fail(self, error: BaseException) -> None:
        """Its read has failed."""
        self._failure = error
        self._here.set()

    def piece(self, start: int, stop: int) -> bytes:
        """Some bytes from `start` on, none beyond `stop`; empty if the block ends before `start`."""
        place = bisect_right(self._starts, start) - 1
        if place < 0:
            return b""
        begin, end = start - self._starts[place], stop - self._starts[place]
        piece = self.pieces[place]
        return piece if begin == 0 and end >= len(piece) else piece[begin:end]


class Check:
    """The SHA-256 of a body whose blocks arrive in any number of reads.

    The first pass keeps the state of the hash after each block. A block that is read again, because it was dropped in
    between, must lead from the state before it to the same state after it.
    """

    def __init__(self, blocks: int, digest: str) -> None:
        self.added = 0
        """The number of blocks that were added, from the first on; later blocks cannot be added."""
        self._states: list[Any] = [sha256()]
        self._blocks = blocks
        self._digest = digest
        self._waiting: deque[tuple[int, Sequence[bytes]]] = deque()
        self._guard = Lock()
        self._idle = True
        self._hashing: asyncio.Future[None] | None = None
        self._failure: Exception | None = None

    async def add(self, number: int, block: Block) -> None:
        """Hash a block in a thread; waits if hashing is far behind, so that few blocks are held for it."""
        if block.checked:
            return
        block.checked = True
        self.added = max(self.added, number + 1)
        with self._guard:
            self._waiting.append((number, block.pieces))
            begin, self._idle = self._idle, False
        if begin:
            self._hashing = asyncio.get_running_loop().run_in_executor(None, self._hash)
        if len(self._waiting) > _MOST_WAITING and self._hashing is not None:
            await asyncio.wait({self._hashing})

    async def settled(self) -> None:
        """Everything added so far is what was stored.

        Raises:
            DigestMismatchError: it is not.
        """
        if self._hashing is not None:
            await asyncio.wait({self._hashing})
        if self._failure is not None:
            raise self._failure

    def _hash(self) -> None:
        """In a thread: hash the waiting blocks without a turn of the event loop between them."""
        while True:
            with self._guard:
                if not self._waiting:
                    self._idle = True
                    return
                number, pieces = self._waiting.popleft()
            try:
                if self._failure is None:
                    self._add(number, pieces)
            except Exception as error:  # noqa: BLE001  # it is raised in the readers
                self._failure = error

    def _add(self, number: int, pieces: Sequence[bytes]) -> None:
        state = self._states[number].copy()
        for piece in pieces:
            state.update(piece)
        if number + 1 < len(self._states):
            right = state.digest() == self._states[number + 1].digest()
        else:
            self._states.append(state)
            right = number + 1 < self._blocks or state.hexdigest() == self._digest
        if not right:
            raise DigestMismatchError("The stored body is damaged: its SHA-256 does not hold. Publish it again")
