"""The parts of lib0, the encoding of Yjs: integers of variable length, byte strings, texts and values. Pure."""

from __future__ import annotations

import struct
from typing import Any, Final

from broker_plane.errors import WireError

LARGEST: Final = (1 << 53) - 1
_MAX_DEPTH = 64
_LONGEST_UINT = 8
"""Bytes of LARGEST."""

UNDEFINED: Final = object()
"""JavaScript's `undefined`, which JSON does not have."""


class Reader:
    """Reads from bytes, and raises WireError for everything that is not complete or not canonical enough to trust."""

    __slots__ = ("_at", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    @property
    def left(self) -> int:
        """The bytes that have not been read."""
        return len(self._raw) - self._at

    def byte(self) -> int:
        if self._at >= len(self._raw):
            raise WireError("A message of Yjs ends too early")
        self._at += 1
        return self._raw[self._at - 1]

    def uint(self, most: int = LARGEST) -> int:
        """An unsigned integer of at most `most`."""
        number = shift = 0
        for at in range(self._at, min(self._at + _LONGEST_UINT, len(self._raw))):
            byte = self._raw[at]
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                self._at = at + 1
                if number > most:
                    raise WireError(f"A message of Yjs has a number above {most} where none is allowed")
                return number
        raise WireError("A message of Yjs ends within a number, or has one of too many bytes")

    def count(self) -> int:
        """A number of items that follow; each has at least one byte."""
        return self.uint(self.left)

    def signed(self) -> int:
        """A signed integer."""
        first = self.byte()
        number, shift = first & 0x3F, 6
        byte = first
        while byte & 0x80:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            shift += 7
            if number > LARGEST or shift > 62:
                raise WireError("A message of Yjs has a number that is too large")
        return -number if first & 0x40 else number

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise WireError("A message of Yjs ends too early")
        self._at += size
        return self._raw[self._at - size : self._at]

    def blob(self) -> bytes:
        return self.take(self.uint())

    def text(self) -> str:
        try:
            return self.blob().decode()
        except UnicodeDecodeError as error:
            raise WireError("A message of Yjs has a text that is not UTF-8") from error

    def any(self, depth: int = _MAX_DEPTH) -> Any:
        """A value of JavaScript: JSON, UNDEFINED, bytes, or an integer of 64 bits."""
        if depth <= 0:
            raise WireError(f"A message of Yjs has a value that is nested deeper than {_MAX_DEPTH} levels")
        kind = self.byte()
        match kind:
            case 118:
                return {self.text(): self.any(depth - 1) for _ in range(self.count())}
            case 117:
                return [self.any(depth - 1) for _ in range(self.count())]
            case 116:
                return self.blob()
            case 119:
                return self.text()
            case _:
                return self._scalar(kind)

    def _scalar(self, kind: int) -> Any:
        match kind:
            case 127:
                return UNDEFINED
            case 126:
                return None
            case 125:
                return self.signed()
            case 124:
                return struct.unpack(">f", self.take(4))[0]
            case 123:
                return struct.unpack(">d", self.take(8))[0]
            case 122:
                return struct.unpack(">q", self.take(8))[0]
            case 121 | 120:
                return kind == 120
            case _:
                raise WireError(f"A message of Yjs has a value of the unknown type {kind}")

    def end(self) -> None:
        """Raise WireError unless everything has been read."""
        if self.left:
            raise WireError(f"A message of Yjs has {self.left} bytes after its end")


def write_uint(number: int) -> bytes:
    """An unsigned integer of variable length."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def write_bytes(raw: bytes) -> bytes:
    """A byte string with its length before it; a text is its UTF-8."""
    return write_uint(len(raw)) + raw
