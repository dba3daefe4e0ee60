"""One question to the metadata of an Arrow record batch that pyarrow does not answer: are its buffers compressed? Pure.

A compressed buffer says how large it will be, and pyarrow makes room for that before it looks at the bytes. Arrow's
Message.fbs and Schema.fbs number the fields; the flatbuffers internals page says where a field stands.
"""

from __future__ import annotations

import struct

_HEADER = 2
"""Of a Message: the record batch."""

_COMPRESSION = 3
"""Of a RecordBatch."""


def is_compressed(metadata: object) -> bool:
    """Whether the record batch of this metadata, which pyarrow has verified, has compressed buffers.

    Raises:
        struct.error: it is no flatbuffer.
    """
    raw = bytes(metadata)  # type: ignore[call-overload]  # a pyarrow.Buffer has the buffer protocol
    (root,) = struct.unpack_from("<I", raw)
    place = _field(raw, root, _HEADER)
    return place > 0 and _field(raw, place + struct.unpack_from("<I", raw, place)[0], _COMPRESSION) > 0


def _field(raw: bytes, table: int, number: int) -> int:
    """Where field `number` of the table stands; 0 where it has none."""
    vtable = table - struct.unpack_from("<i", raw, table)[0]
    (size,) = struct.unpack_from("<H", raw, vtable)
    slot = 4 + 2 * number
    if slot + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", raw, vtable + slot)
    return table + offset if offset else 0
