"""What every transfer goes through, whatever carried it: decompression under a cap, then size and SHA-256."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from backports import zstd

from broker_plane.errors import TooLargeError, WrongChecksumError, WrongCompressionError, WrongSizeError
from broker_plane.plane.digest import RunningDigest
from broker_plane.wire.descriptor import Descriptor

_PIECE_BYTES = 1 << 18
_WINDOW_LOG = 23
"""8 MiB, as RFC 9659 has it for zstd over HTTP: a frame may ask for much memory before its first byte."""


async def checked(
    pieces: AsyncGenerator[bytes, None], descriptor: Descriptor, max_bytes: int
) -> AsyncGenerator[bytes, None]:
    """The bytes that the descriptor promises. A completed iteration is a verified read, as far as it promises.

    Raises:
        TooLargeError: there are more than `max_bytes`. WrongSizeError, WrongChecksumError, WrongCompressionError.
    """
    expected = descriptor.size_hint
    if expected is not None and expected > max_bytes:
        raise TooLargeError(f"The descriptor announces {expected} bytes; the most is {max_bytes}")
    digest = RunningDigest()
    size = 0
    async with aclosing(plain(pieces, descriptor.compression or "none")) as source:
        async for piece in source:
            size += len(piece)
            if expected is not None and size > expected:
                raise WrongSizeError(f"More came than the {expected} bytes that the descriptor says")
            if size > max_bytes:
                raise TooLargeError(f"More came than {max_bytes} bytes, which is the most")
            await digest.add(piece)
            yield piece
    if expected is not None and size != expected:
        raise WrongSizeError(f"{size} bytes came, and the descriptor says {expected}")
    if descriptor.digest and await digest.hexdigest() != descriptor.digest:
        raise WrongChecksumError("What came has another SHA-256 than the descriptor says")


async def plain(pieces: AsyncGenerator[bytes, None], compression: str) -> AsyncGenerator[bytes, None]:
    """`pieces` without their compression, in pieces that are small however much comes out of one.

    Raises:
        WrongCompressionError: they are not compressed so, or end in the middle.
    """
    if compression == "none":
        async for piece in pieces:
            yield piece
        return
    expander = _Expander(compression)
    async with aclosing(pieces):
        async for piece in pieces:
            for out in expander.expand(piece):
                yield out
    if not expander.whole:
        raise WrongCompressionError(f"What came ends in the middle of its {compression}")


class _Expander:
    """One compressed stream; several members or frames behind one another are one."""

    def __init__(self, compression: str) -> None:
        self._compression = compression
        self._undo = self._another()

    @property
    def whole(self) -> bool:
        return bool(self._undo.eof)

    def expand(self, data: bytes) -> Iterator[bytes]:
        """What `data` gives, in pieces of a bounded size."""
        while data or not self._undo.eof:
            if self._undo.eof:
                self._undo = self._another()
            try:
                out = self._undo.decompress(data, _PIECE_BYTES)
            except (zlib.error, zstd.ZstdError) as error:
                raise WrongCompressionError(f"What came is no {self._compression}") from error
            # zlib gives back what it did not take in yet, zstd keeps that.
            data = self._undo.unused_data if self._undo.eof else getattr(self._undo, "unconsumed_tail", b"")
            if out:
                yield out
            if not data and len(out) < _PIECE_BYTES:
                return

    def _another(self) -> Any:
        if self._compression == "gzip":
            return zlib.decompressobj(wbits=31)
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
