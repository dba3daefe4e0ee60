"""Reads from the metadata of an Arrow record batch whether its buffers are compressed, which pyarrow does not tell.
Pure.

A compressed buffer declares its size, and pyarrow allocates that before it reads the bytes. Arrow's Message.fbs and
Schema.fbs number the fields; the flatbuffers internals page says where a field is.
"""

from __future__ import annotations

import struct

_HEADER = 2
"""Field of a Message: the record batch."""

_COMPRESSION = 3
"""Field of a RecordBatch."""


def is_compressed(metadata: object) -> bool:
    """Whether the record batch with this metadata, which pyarrow has verified, has compressed buffers.

    Raises:
        struct.error: it is not a flatbuffer.
    """
    raw = bytes(metadata)  # type: ignore[call-overload]  # a pyarrow.Buffer has the buffer protocol
    (root,) = struct.unpack_from("<I", raw)
    place = _field(raw, root, _HEADER)
    return place > 0 and _field(raw, place + struct.unpack_from("<I", raw, place)[0], _COMPRESSION) > 0


def _field(raw: bytes, table: int, number: int) -> int:
    """The place of field `number` of the table; 0 if it is absent."""
    vtable = table - struct.unpack_from("<i", raw, table)[0]
    (size,) = struct.unpack_from("<H", raw, vtable)
    slot = 4 + 2 * number
    if slot + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", raw, vtable + slot)
    return table + offset if offset else 0
