"""What generated code emits, in an unlinked temporary file until it is verified: no byte of it is seen before."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import anyio.to_thread

from broker_plane.errors import WrongSizeError
from broker_plane.plane.bodies.digest import RunningDigest
from broker_plane.plane.bodies.publish import Progress, report_progress
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.checks import checked
from broker_plane.wire.descriptor import Descriptor

_PIECE_BYTES = 1 << 18
_MEMORY_BYTES = 1 << 18
"""A smaller output needs no file."""

_COMPRESSED_SLACK = 1 << 16


@dataclass(frozen=True, slots=True)
class Verified:
    """The size in bytes and the SHA-256 (hex) of a verified output, after decompression."""

    size: int
    digest: str


class Spool:
    """The Sink of one run. `size` is the number of bytes that were emitted, compressed if the descriptor says so."""

    def __init__(self, descriptor: Descriptor, allowance: Allowance, progress: Progress | None = None) -> None:
        self._descriptor = descriptor
        self._allowance = allowance
        self._progress = progress
        # The name is removed at once: a killed process leaves no file.
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115  # `close` closes it
        self.size = 0

    async def write(self, piece: bytes) -> None:
        """Keep the next bytes.

        Raises:
            WrongSizeError: they are more than the descriptor announces. TooLargeError: it announces no size, and they
            are more than such a transfer may have.
        """
        self.size += len(piece)
        announced = self._descriptor.size
        # Compressed data that is larger than the plain one is unusual, and by how much is known for both formats.
        compressed = (self._descriptor.compression or "none") != "none"
        size = self.size - (self.size // 8 + _COMPRESSED_SLACK) if compressed else self.size
        if announced is not None and size > announced:
            raise WrongSizeError(f"The code emitted more than the {announced} bytes that the descriptor gives")
        self._fresh_allowance().check(size)
        self._file.write(piece)
        await report_progress(self._progress, self.size, announced)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The emitted bytes from the beginning."""
        self._file.seek(0)
        while piece := await anyio.to_thread.run_sync(self._file.read, _PIECE_BYTES):
            yield piece

    async def verify(self) -> Verified:
        """Return what the emitted bytes are if they are those that the descriptor describes.

        Raises:
            WrongSizeError, WrongChecksumError, WrongCompressionError, TooLargeError, TransferInterruptedError: as
            `transfer.checks.checked`.
        """
        size, known = 0, self._descriptor.digest
        digest = RunningDigest()
        async with aclosing(checked(self.pieces(), self._descriptor, self._fresh_allowance())) as pieces:
            async for piece in pieces:
                size += len(piece)
                if not known:
                    await digest.add(piece)
        return Verified(size, known or await digest.hexdigest())

    def close(self) -> None:
        """Free the bytes. Repeatable."""
        self._file.close()

    def _fresh_allowance(self) -> Allowance:
        """The allowance of the transfer, as before its first byte: what it counts is counted once more on delivery."""
        fresh = self._allowance.unannounced()
        if self._descriptor.size is not None:
            fresh.announce(self._descriptor.size)
        return fresh
