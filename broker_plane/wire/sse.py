"""The parser of server-sent events (WHATWG HTML, section 9.2): bytes in pieces become whole events. Pure.

An event stays in its raw bytes until a field is asked for, so a proxy forwards unchanged events byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NEW_LINE = rb"(?:\r\n|\n|\r(?!\n))"
_END = re.compile(_NEW_LINE + _NEW_LINE)
_LINE = re.compile(rb"\r\n|\n|\r")
_END_BYTES = 4

TOO_LONG = b""
"""Takes the place of an event that exceeds the limit."""


class EventSplitter:
    """Splits a stream into raw events, each with the blank line that ends it.

    An event of more than `max_bytes` is discarded as it arrives, and TOO_LONG is yielded in its place.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending = bytearray()
        self._searched = 0
        self._discarding = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        self._pending += piece
        start = 0
        while (found := _END.search(self._pending, max(start, self._searched - _END_BYTES + 1))) is not None:
            event = bytes(self._pending[start : found.end()])
            start = self._searched = found.end()
            if self._discarding:
                self._discarding = False
            else:
                yield event if len(event) <= self._max_bytes else TOO_LONG
        del self._pending[:start]
        self._searched = len(self._pending)
        if self._searched > self._max_bytes or self._discarding:
            if not self._discarding:
                yield TOO_LONG
            self._discarding = True
            del self._pending[: -_END_BYTES + 1]
            self._searched = len(self._pending)

    def rest(self) -> bytes:
        """The bytes after the last whole event."""
        return b"" if self._discarding else bytes(self._pending)


def lines_of(event: bytes) -> list[bytes]:
    """The lines of an event that are not empty."""
    return [line for line in _LINE.split(event) if line]


def field_of(event: bytes, name: bytes) -> bytes | None:
    """The value of a field, `data` lines joined by line feeds; of other fields the last counts. None if absent."""
    prefix = name + b":"
    values = [
        line[len(prefix) :].removeprefix(b" ") if line != name else b""
        for line in _LINE.split(event)
        if line == name or line.startswith(prefix)
    ]
    if not values:
        return None
    return b"\n".join(values) if name == b"data" else values[-1]


def data_of(event: bytes) -> bytes:
    """The data of an event; empty if it has none."""
    return field_of(event, b"data") or b""


def id_of(event: bytes) -> str:
    """The id of an event; empty if it has none."""
    return (field_of(event, b"id") or b"").decode("latin-1")


def with_data(event: bytes, data: bytes) -> bytes:
    """The event with other data on one line; its other lines, comments included, are kept."""
    lines = [line for line in lines_of(event) if line != b"data" and not line.startswith(b"data:")]
    return b"\n".join([*lines, b"data: " + data, b"", b""])
