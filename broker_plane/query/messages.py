"""The messages between a bridge and a worker, over two pipes: a letter, the size (u32, big-endian), and the bytes.

bridge → worker    Q statement (JSON), then for each table that the worker asked for: F frames, E
worker → bridge    R ready, N columns needed by table (JSON), then B bytes of the result, D done; or X error (JSON)
"""

from __future__ import annotations

import os
import struct

STATEMENT, FRAME, END = b"Q", b"F", b"E"
READY, NEEDS, BYTES, DONE, ERROR = b"R", b"N", b"B", b"D", b"X"

HEAD = struct.Struct(">cI")
MOST_ANSWER_BYTES = 1 << 20
"""Largest message of a worker."""

_AT_ONCE = 1 << 20


def read_message(file: int) -> tuple[bytes, bytes]:
    """The next message of a blocking pipe, and not a byte more. Raises EOFError at its end."""
    kind, size = HEAD.unpack(_read(file, HEAD.size))
    return kind, _read(file, size)


def write_message(file: int, kind: bytes, payload: bytes | memoryview = b"") -> None:
    """Write a message to a blocking pipe."""
    for part in (HEAD.pack(kind, len(payload)), payload):
        left = memoryview(part)
        while left:
            left = left[os.write(file, left) :]


def _read(file: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(file, min(size, _AT_ONCE))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
