"""Server-sent events as bytes that pass: each is a whole, and goes on as it came where nobody changes it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")


class Events:
    """Pieces in, whole events out, each with the blank line that ends it."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._looked = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        self._rest += piece
        while True:
            found = _END.search(self._rest, max(0, self._looked - 3))
            if found is None:
                self._looked = len(self._rest)
                return
            event = bytes(self._rest[: found.end()])
            del self._rest[: found.end()]
            self._looked = 0
            yield event

    def end(self) -> bytes:
        """What came after the last event."""
        return bytes(self._rest)


def data_of(event: bytes) -> bytes:
    """The data of an event (HTML, section 9.2.6): its `data:` lines, joined."""
    lines = (line for line in _LINE.split(event) if line.startswith(b"data:"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)


def with_data(event: bytes, data: bytes) -> bytes:
    """The event with other data, on one line; its id, its type and its comments stay."""
    lines = [line for line in _LINE.split(event) if line and not line.startswith(b"data:")]
    return b"\n".join([*lines, b"data: " + data, b"", b""])
