"""Bodies that a broken-into resource server could write into its own bucket: raw bytes and raw metadata.

`hostile_bodies()` has them by name. Each goes the way below the writer: its frames, its table and its meta are made by
hand, so that every digest holds and nothing but the content is wrong.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import BytesIO
from time import time
from typing import Any

import msgpack
import orjson
from backports import zstd

from broker_plane.tabular.arrow import encode as arrow_chunk
from broker_plane.tabular.chunks import ARROW, FEW, SPARSE, ZSTD, chunk_digest
from broker_plane.wire.body import ROWS_TYPE, BodyInfo, TablePlace
from broker_plane.wire.names import BodyId, body_id, encode_id
from broker_plane.wire.plane_names import Names

_U32 = struct.Struct(">I")
MIB = 1 << 20
CHUNK_BYTES = 1 << 19

Chunk = tuple[str, int, bytes]
"""Name, coding and bytes of a column's chunk."""


@dataclass(frozen=True)
class Hostile:
    """`raw` are the stored bytes; `fields` take the place of what their body info would say."""

    raw: bytes
    rows: int
    columns: tuple[str, ...]
    table: TablePlace
    fields: dict[str, Any] = field(default_factory=dict)
    packed_info: bytes = b""
    """The whole body info, where its form is what is wrong."""

    def info(self, owner: str, number: int) -> BodyInfo:
        """What an honest meta would say of it."""
        size, now = len(self.raw), time()
        chunks = -(-size // CHUNK_BYTES)
        return BodyInfo(
            id=body_id(number.to_bytes(16, "big")),
            owner=owner,
            kind="rows",
            size=size,
            digest=sha256(self.raw).hexdigest(),
            media_type=ROWS_TYPE,
            created=now,
            expires=int(now) + 3600,
            rows=self.rows,
            columns=self.columns,
            table=self.table,
            chunks=chunks,
            chunk_bytes=CHUNK_BYTES if chunks > 1 else max(1, size),
        )

    async def put(self, store: Callable[[str, bytes], Any], owner: str, number: int) -> BodyInfo:
        """Write chunks and meta with `store(subject, data)`, which returns the sequence."""
        info = self.info(owner, number)
        first = 0
        for start in range(0, len(self.raw), CHUNK_BYTES):
            sequence = await store(Names().chunk_subject(owner, info.id), self.raw[start : start + CHUNK_BYTES])
            first = first or sequence
        told = info.to_wire() | ({"runs": [(first, info.chunks)]} if info.chunks > 1 else {}) | self.fields
        await store(Names().meta_subject(owner, info.id), meta(info.id, self.packed_info or packed(told)))
        return info


def meta(body: BodyId, packed: bytes) -> bytes:
    """A meta message with this body info."""
    return orjson.dumps({"name": body, "nuid": body, "metadata": {"broker-plane": encode_id(packed)}})


def frame(header: dict[str, Any] | bytes, *chunks: Chunk) -> bytes:
    """A frame whose header has these fields and the lines of `chunks`."""
    lines = [[name, len(raw), coding, chunk_digest(raw)] for name, coding, raw in chunks]
    told = header if isinstance(header, bytes) else msgpack.packb({"c": lines, **header})
    return b"".join((_U32.pack(len(told)), told, *(raw for _, _, raw in chunks)))


def body(
    frames: Sequence[bytes],
    rows: Sequence[int],
    columns: Sequence[str] = ("c",),
    *,
    table: dict[str, Any] | bytes | None = None,
    meta_fields: dict[str, Any] | None = None,
) -> Hostile:
    """A whole body of `frames` with so many `rows`; `table` takes the place of the honest one, or of some of it."""
    offset, entries = 4, []
    for raw, count in zip(frames, rows, strict=True):
        (size,) = _U32.unpack_from(raw)
        entries.append([offset, count, size, chunk_digest(raw[4 : 4 + size])])
        offset += len(raw)
    honest: dict[str, Any] = {"columns": list(columns), "rows": sum(rows), "frames": entries}
    packed = table if isinstance(table, bytes) else msgpack.packb(honest | (table or {}))
    end = b"".join((_U32.pack(0), packed, _U32.pack(len(packed)), b"BPR1"))
    place = TablePlace(offset=offset + 4, size=len(packed), digest=sha256(packed).hexdigest())
    raw = b"".join((b"BPR1", *frames, end))
    return Hostile(raw, sum(rows), tuple(columns), place, meta_fields or {})


def one(coding: int, raw: bytes, rows: int = 1) -> Hostile:
    """A body of one frame with one column."""
    return body([frame({"n": rows, "f": 0}, ("c", coding, raw))], [rows])


def packed(value: Any) -> bytes:
    raw: bytes = msgpack.packb(value)
    return raw


def squeezed(raw: bytes) -> bytes:
    return zstd.compress(raw, 1)


def lying(raw: bytes, size: int) -> bytes:
    """A zstd frame of `raw` that says it has `size` bytes: 4 bytes of size at a known place (RFC 8878, 3.1.1)."""
    made = bytearray(zstd.compress(raw + bytes(MIB), 1))
    at = made.index((len(raw) + MIB).to_bytes(4, "little"))
    made[at : at + 4] = size.to_bytes(4, "little")
    return bytes(made)


def unsized(raw: bytes) -> bytes:
    """A zstd frame that does not say its size."""
    stream = zstd.ZstdCompressor(19)
    return b"".join((stream.compress(raw[: len(raw) // 2]), stream.compress(raw[len(raw) // 2 :]), stream.flush()))


def arrow_column(make: Callable[[Any], Any], compression: str | None = None) -> bytes:
    """The IPC stream of the array that `make(pyarrow)` makes, as nobody checks it."""
    import pyarrow as pa

    array = make(pa)
    if compression is None and not pa.types.is_dictionary(array.type):
        return arrow_chunk(array)
    batch = pa.record_batch([array], names=[""])
    sink = BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def nested(depth: int) -> bytes:
    return b"\x91" + b"\x91" * depth + b"\xc0"


def hostile_bodies() -> dict[str, Hostile]:
    """All of them by name. They take a second or two to make."""
    nils = b"\xdd" + (200 * MIB).to_bytes(4, "big") + b"\xc0" * (200 * MIB)
    squeezed_nils = squeezed(nils)
    small = packed([1])
    honest = frame({"n": 1, "f": 0}, ("c", 0, small))
    return {
        # the header of a frame
        "rows 10^8 of no columns": body([frame({"n": 10**8, "f": 0})], [10**8], []),
        "rows 10^13 of no columns": body([frame({"n": 10**13, "f": 0})], [10**13], []),
        "rows 2^64-1": body([frame({"n": 2**64 - 1, "f": 0})], [2**64 - 1], []),
        "rows below zero": body([frame({"n": -1, "f": 0})], [1]),
        "first row at 2^63": body([frame({"n": 1, "f": 2**63}, ("c", 0, small))], [1]),
        "first row below zero": body([frame({"n": 1, "f": -5}, ("c", 0, small))], [1]),
        "row ids that are maps": body([frame({"n": 1, "f": 0, "i": [{}] * 500_000}, ("c", 0, small))], [1]),
        "row ids that claim 2^32": body(
            [frame(b"\x84\xa1n\x01\xa1f\x00\xa1c\x90\xa1i\xdd\xff\xff\xff\xff")], [1], ["c"]
        ),
        "a header of empty maps": body([frame(packed({"n": 1, "f": 0, "c": [{}] * 3_000_000}))], [1]),
        "a column of minus a gigabyte": body([frame(packed({"n": 1, "f": 0, "c": [["c", -(1 << 30), 0, b""]]}))], [1]),
        "a column of 4 GB": body([frame(packed({"n": 1, "f": 0, "c": [["c", 1 << 32, 0, b"x" * 16]]}))], [1]),
        "100,000 columns": body(
            [frame(packed({"n": 1, "f": 0, "c": [[f"c{n}", 0, 0, b""] for n in range(100_000)]}))], [1]
        ),
        "one column twice": body([frame({"n": 1, "f": 0}, ("c", 0, small), ("c", 0, small))], [1]),
        "a column called _row_id": body([frame({"n": 1, "f": 0}, ("_row_id", 0, small))], [1], ["_row_id"]),
        "an empty column of many rows": one(0, packed([]), 131_000),
        # the table
        "a table of empty maps": body([honest], [1], table=packed({"columns": [{}] * 6_000_000})),
        "a table that claims 2^32 frames": body(
            [honest], [1], table=b"\x83\xa7columns\x91\xa1c\xa4rows\x01\xa6frames\xdd\xff\xff\xff\xff"
        ),
        "a table of frames outside the body": body([honest], [1], table={"frames": [[1 << 40, 1, 30, b"x" * 16]]}),
        "a table of a million frames in one place": body(
            [honest], [1], table={"rows": 1_000_000, "frames": [[4, 1, 30, b"x" * 16]] * 1_000_000}
        ),
        "a table with more rows than the frame": body([honest], [1], table={"rows": 1 << 31}),
        "two frames where the table has one": body([honest + honest], [1]),
        # zstd
        "20 columns of 200 MiB of nil": body(
            [frame({"n": 1, "f": 0}, *((f"c{n}", ZSTD, squeezed_nils) for n in range(20)))],
            [1],
            [f"c{n}" for n in range(20)],
        ),
        "one text of 200 MiB": one(ZSTD, squeezed(b"\xdb" + (200 * MIB).to_bytes(4, "big") + bytes(200 * MIB))),
        "17 columns of 1 MiB each in 100 bytes": body(
            [
                frame(
                    {"n": 1, "f": 0},
                    *((f"c{n}", ZSTD, squeezed(packed([chr(65 + n) * MIB]))) for n in range(17)),
                )
            ],
            [1],
            [f"c{n}" for n in range(17)],
        ),
        "zstd of no declared size": one(ZSTD, unsized(packed(["x" * (40 * MIB)]))),
        "zstd that declares 1 byte and has 40 MiB": one(ZSTD, lying(packed(["x" * (40 * MIB)]), 1)),
        "zstd that declares 4 GB": one(ZSTD, lying(packed(["x" * MIB]), 0xFFFF_FFF0)),
        "zstd in zstd": one(ZSTD, squeezed(squeezed_nils)),
        # values
        "lists in lists that claim all there is": one(0, b"\x91" + b"\xdd\x00\x0f\x00\x00" * 900 + b"\xc0" * MIB),
        "4 million empty lists in one value": one(0, packed([[[]] * (4 * MIB)])),
        "2 million maps of one member": one(0, packed([[{"a": 1}] * (2 * MIB)])),
        "8 MiB of empty maps under zstd": one(ZSTD, squeezed(packed([[{}] * (8 * MIB)]))),
        "12 million numbers below zero under zstd": one(ZSTD, squeezed(packed([[-20] * (12 * MIB)]))),
        "3 million decimals under zstd": one(ZSTD, squeezed(packed([[msgpack.ExtType(5, b"1")] * (3 * MIB)]))),
        "a number of 4 MB": one(0, packed([msgpack.ExtType(7, b"\x7f" * (4 * MIB))])),
        "a decimal of 4 MB": one(0, packed([msgpack.ExtType(5, b"9" * (4 * MIB))])),
        "a span of lists": one(0, packed([msgpack.ExtType(4, b"\xdd\x00\xff\xff\xff" * 20)])),
        "an unknown extension": one(0, packed([msgpack.ExtType(99, b"x")])),
        "keys of one hash": one(0, b"\x91" + _clashing_map()),
        "a map with a list for a key": one(0, b"\x91\x81\x90\xc0"),
        "lists 1,000 deep": one(0, nested(1_000)),
        "lists 100,000 deep": one(0, nested(100_000)),
        # codings
        "a text of 1 MiB for 100,000 rows": one(FEW, packed([["x" * MIB], bytes(100_000)]), 100_000),
        "few of lists": one(FEW, packed([[[{}] * MIB], bytes(10)]), 10),
        "few that point nowhere": one(FEW, packed([["a"], b"\xff" * 10]), 10),
        "gaps of 2^40": one(SPARSE, packed([[1 << 40], []]), 1),
        "a million gaps in one row": one(SPARSE, packed([list(range(1_000_000)), [1]]), 1),
        "sparse and few": one(SPARSE | FEW, packed([[], [1]])),
        "a coding of the future": one(64, small),
        "arrow with compressed buffers": one(
            ARROW, arrow_column(lambda pa: pa.array(["x" * (100 * MIB)]), compression="zstd")
        ),
        "an arrow list of 2^31 nulls": one(
            ARROW,
            arrow_column(
                lambda pa: pa.ListArray.from_arrays(pa.array([0, (1 << 31) - 1], pa.int32()), pa.nulls((1 << 31) - 1))
            ),
        ),
        "an arrow dictionary of long texts": one(
            ARROW,
            arrow_column(lambda pa: pa.DictionaryArray.from_arrays([0] * 100_000, ["x" * MIB])),
            100_000,
        ),
        "arrow runs": one(
            ARROW, arrow_column(lambda pa: pa.RunEndEncodedArray.from_arrays([100_000], ["x" * MIB])), 100_000
        ),
        "arrow views of one text": one(ARROW, arrow_column(lambda pa: pa.array(["x" * MIB] * 3, pa.string_view())), 3),
        "arrow of junk": one(ARROW, b"\xff\xff\xff\xff" + b"\x00\x00\x00\x7f" + bytes(100)),
        # the meta
        **{
            f"meta: {name} {value!r}"[:60]: body([honest], [1], meta_fields={name: value})
            for name, value in _META_FIELDS
        },
        "meta of empty maps": _with_meta(body([honest], [1]), packed({"id": [{}] * 2_000_000})),
        "meta that is no msgpack": _with_meta(body([honest], [1]), b"\xc1\xc1"),
    }


def _clashing_map() -> bytes:
    """A map whose keys are numbers with one hash; looked up one by one it would take a minute."""
    clashing = [k * ((1 << 61) - 1) for k in range(1, 40_000)]
    keys = [msgpack.ExtType(7, k.to_bytes(12, "big", signed=True)) for k in clashing]
    return b"\xde" + len(keys).to_bytes(2, "big") + b"".join(packed(key) + b"\xc0" for key in keys)


def _with_meta(made: Hostile, told: bytes) -> Hostile:
    return replace(made, packed_info=told)


_META_FIELDS: list[tuple[str, Any]] = [
    ("created", 1e300),
    ("created", math.nan),
    ("created", math.inf),
    ("created", -1e18),
    ("created", "now"),
    ("expires", 2**62),
    ("expires", -1),
    ("expires", 1),
    ("size", 2**62),
    ("size", 0),
    ("rows", 2**62),
    ("rows", None),
    ("chunks", 2**40),
    ("chunk_bytes", 0),
    ("chunk_bytes", 1),
    ("runs", [[1, 2**60]]),
    ("runs", [[2**62, 1]] * 100_000),
    ("table", None),
    ("table", {"offset": 2**60, "size": 10, "digest": ""}),
    ("table", {"offset": 0, "size": 2**50, "digest": ""}),
    ("name", "n" * 4_000_000),
    ("media_type", "t" * 100_000),
    ("columns", [""] * 1_000_000),
    ("digest", "0" * 63),
    ("format", 2**63),
]
