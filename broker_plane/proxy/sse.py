"""Server-sent events as bytes that pass: each is a whole, and goes on as it came where nobody changes it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")

TOO_LONG = b""


class Events:
    """Pieces in, whole events out, each with the blank line that ends it.

    One of more than `most` bytes is dropped as it comes; TOO_LONG is in its place.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()
        self._looked = 0
        self._drops = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        self._rest += piece
        start = 0
        while (found := _END.search(self._rest, max(start, self._looked - 3))) is not None:
            event = bytes(self._rest[start : found.end()])
            start = self._looked = found.end()
            if self._drops:
                self._drops = False
            else:
                yield event if len(event) <= self._most else TOO_LONG
        del self._rest[:start]
        self._looked = len(self._rest)
        if len(self._rest) > self._most or self._drops:
            if not self._drops:
                yield TOO_LONG
            self._drops = True
            del self._rest[:-3]
            self._looked = len(self._rest)

    def end(self) -> bytes:
        """What came after the last event."""
        return b"" if self._drops else bytes(self._rest)


def data_of(event: bytes) -> bytes:
    """The data of an event (HTML, section 9.2.6): its `data:` lines, joined."""
    lines = (line for line in _LINE.split(event) if line.startswith(b"data:"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)


def id_of(event: bytes) -> str:
    """The id of an event, where it has one."""
    found = [line[3:].removeprefix(b" ") for line in _LINE.split(event) if line.startswith(b"id:")]
    return found[-1].decode("latin-1") if found else ""


def with_data(event: bytes, data: bytes) -> bytes:
    """The event with other data, on one line; its id, its type and its comments stay."""
    lines = [line for line in _LINE.split(event) if line and not line.startswith(b"data:")]
    return b"\n".join([*lines, b"data: " + data, b"", b""])
