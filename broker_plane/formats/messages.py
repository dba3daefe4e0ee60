"""What the process that reads a file sends: messages of a kind, a size and a content. Pure.

message = kind 1 | u32 size, big-endian | content
HEAD    msgpack {"columns": [name*], "rows": count or nil, "sheet": name, "sheets": [name*]}
SCHEMA  an Arrow schema                   BATCH  an Arrow record batch
ROWS    msgpack, a list for each column   ERROR  a sentence in UTF-8      END  nothing
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from broker_plane.errors import TabularError

HEAD, SCHEMA, BATCH, ROWS, ERROR, END = b"H", b"S", b"B", b"R", b"E", b"Z"
MOST_BYTES = 1 << 28
"""Largest message. The reading process sends far smaller ones, unless a single row is that large."""

_PREFIX = struct.Struct(">cI")


def packed_message(kind: bytes, content: Any = b"") -> bytes:
    """The bytes of a message.

    Raises:
        TabularError: the content is larger than a message may be.
    """
    view = memoryview(content)
    if view.nbytes > MOST_BYTES:
        raise TabularError(f"A row of the file has more than {MOST_BYTES >> 20} MiB")
    return _PREFIX.pack(kind, view.nbytes) + bytes(view)


def read_messages(read: Callable[[int], bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The messages up to END. Ends early if the sender does.

    Raises:
        TabularError: ERROR was received; the text is its content.
    """
    while len(prefix := read(_PREFIX.size)) == _PREFIX.size:
        kind, size = _PREFIX.unpack(prefix)
        if size > MOST_BYTES:
            return
        content = read(size)
        if len(content) < size:
            return
        if kind == ERROR:
            raise TabularError(content.decode(errors="replace"))
        yield kind, content
        if kind == END:
            return
