"""Compresses answers while they are sent (RFC 9110, section 8.4)."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Protocol, TypeVar

from backports import zstd

T = TypeVar("T")

CODINGS = ("zstd", "gzip")
"""The supported content codings, best first."""


class Workers(Protocol):
    """Runs CPU work: at once if its `cost` is small, else in a thread."""

    async def do(self, cost: int, work: Callable[[], T], /) -> T: ...


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


async def coded(pieces: AsyncGenerator[bytes, None], coding: str, workers: Workers) -> AsyncGenerator[bytes, None]:
    """`pieces` in one of `CODINGS`, or unchanged for `identity`."""
    compressor = None if coding == "identity" else _compressor(coding)
    async with aclosing(pieces):
        async for piece in pieces:
            packed = piece
            if compressor is not None:
                packed = await workers.do(len(piece) // 16, partial(compressor.compress, piece))
            if packed:
                yield packed
    if compressor is not None:
        yield compressor.flush()


def _compressor(coding: str) -> _Compressor:
    return zstd.ZstdCompressor(1) if coding == "zstd" else zlib.compressobj(1, wbits=31)
