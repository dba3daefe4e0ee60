"""Decode text files of other programs: with a byte order mark, in UTF-16, or in a legacy encoding."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from broker_plane.errors import TabularError

_HEAD_BYTES = 16
_LEAST_BYTES = 4
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def decoded(file: BinaryIO) -> tuple[BinaryIO, str]:
    """The file without its byte order mark, and its encoding; UTF-8 if it has no mark."""
    head = file.read(_HEAD_BYTES)
    if head.startswith(_UTF32):
        raise TabularError("The file is UTF-32; convert it to UTF-8 first (iconv -f utf-32 -t utf-8)")
    mark = next((mark for mark in _BOMS if head.startswith(mark)), b"")
    if not mark and _looks_wide(head):
        raise TabularError(
            "The file is not UTF-8 text. If it is UTF-16, convert it first (iconv -f utf-16le -t utf-8); if it has "
            "another format, choose it with --format"
        )
    return cast(BinaryIO, io.BufferedReader(_Joined(head[len(mark) :], file))), _BOMS.get(mark, "utf-8")


def _looks_wide(head: bytes) -> bool:
    """Whether exactly every second byte is zero, as for Latin letters in UTF-16."""
    zeros = [byte == 0 for byte in head]
    return len(head) >= _LEAST_BYTES and zeros in ([place % 2 == odd for place in range(len(head))] for odd in (0, 1))


class _Joined(io.RawIOBase):
    """A file whose first bytes were already read; pipes cannot seek."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def utf8_lines(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """The lines of a text, converted to UTF-8."""
    try:
        for line in io.TextIOWrapper(file, encoding=encoding, newline="\n"):
            yield line.encode()
    except UnicodeError as error:
        raise TabularError(f"The file starts like {encoding}, but is not valid: {error}") from error


def not_utf8(what: str, error: UnicodeDecodeError) -> TabularError:
    """The error for text in another encoding."""
    return TabularError(
        f"{what} is not UTF-8 (byte 0x{error.object[error.start]:02x}); convert the file first (from Windows: "
        "iconv -f cp1252 -t utf-8), or choose its format with --format"
    )
