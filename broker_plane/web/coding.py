"""Content codings, on the fly (RFC 9110, section 8.4)."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Protocol

from backports import zstd

from broker_plane.plane.fairness.work import Account

CODINGS = ("zstd", "gzip")
"""The ones that are offered, the better first."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


async def coded(pieces: AsyncGenerator[bytes, None], coding: str, account: Account) -> AsyncGenerator[bytes, None]:
    """`pieces` in one of `CODINGS`, or as they are for `identity`."""
    compressor = None if coding == "identity" else _compressor(coding)
    async with aclosing(pieces):
        async for piece in pieces:
            packed = piece
            if compressor is not None:
                packed = await account.do(len(piece) // 16, partial(compressor.compress, piece))
            if packed:
                yield packed
    if compressor is not None:
        yield compressor.flush()


def _compressor(coding: str) -> _Compressor:
    return zstd.ZstdCompressor(1) if coding == "zstd" else zlib.compressobj(1, wbits=31)
