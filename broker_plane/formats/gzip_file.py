"""Text files that are compressed with gzip (RFC 1952), in bounded memory."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import IO, Any, BinaryIO, cast

from broker_plane.errors import TabularError

_FREE_BYTES = 64 << 20
"""Unpacked bytes below which the ratio does not matter."""

_MOST_RATIO = 200
"""The largest ratio of unpacked to packed bytes. Texts are packed 3 to 30 times; deflate can pack zeros 1,032 times."""

_BUFFER_BYTES = 1 << 17
_LEVEL = 6


def unpacked(file: BinaryIO, size: int) -> BinaryIO:
    """The content of a compressed file of `size` bytes. Reading it raises TabularError if it is damaged."""
    return cast(BinaryIO, io.BufferedReader(_Unpacked(file, size), _BUFFER_BYTES))


class _Unpacked(io.RawIOBase):
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._inner = gzip.GzipFile(fileobj=file, mode="rb")
        self._most = max(_FREE_BYTES, size * _MOST_RATIO)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self._inner.read(min(len(buffer), _BUFFER_BYTES))
        except (OSError, EOFError, zlib.error) as error:
            raise TabularError(f"The file is not valid gzip: {error}") from error
        if self._inner.tell() > self._most:
            raise TabularError(
                f"The file unpacks to more than {_MOST_RATIO} times its size, so it is not read; unpack it first"
            )
        buffer[: len(piece)] = piece
        return len(piece)


class Packed:
    """Writes compressed bytes to `file`; the header has no time and no name, so equal content gives equal bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)

    def write(self, piece: bytes) -> int:
        self._file.write(self._packer.compress(piece))
        return len(piece)

    def end(self) -> None:
        self._file.write(self._packer.flush())
