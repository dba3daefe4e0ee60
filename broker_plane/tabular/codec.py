"""The body encoding of rows, format 1: frames of row groups, each column's chunk by itself, a table at the end.

    body   = "BPR1" frame* end
    frame  = u32 header-size, header, chunk*
    header = msgpack {"n": rows, "f": first row id, "i": row ids or absent, "c": [[name, size, coding, digest]*]}
    chunk  = msgpack of the column's values, coded as `chunks` says
    end    = u32 0, table, u32 table-size, "BPR1"
    table  = msgpack {"columns": [name*], "rows": n, "frames": [[offset, rows, header-size, header digest]*]}

All u32 are big-endian. Digests are the first 16 bytes of SHA-256 of the bytes as they stand. The body info vouches for
the table, the table for the headers, a header for its chunks: so a projection verifies what it decodes, and asking for
2 of 29 columns decodes 2. docs/decisions/0002 says why it is not Arrow, Parquet or rows of maps.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from broker_plane.errors import DigestMismatchError, EncodingError, TooLargeError
from broker_plane.tabular.arrow import Array
from broker_plane.tabular.chunks import ARROW, MAX_CHUNK_BYTES, SPARSE, Chunk, ChunkEncoder, digest_of
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.types import collector_paused, pack, unpack

Line = tuple[str, int, int, bytes]
"""Of a column's chunk in a frame's header: name, size, coding, digest."""

MAGIC = b"BPR1"
MAX_FRAME_BYTES = MAX_CHUNK_BYTES
"""Of one frame, encoded: what a reader is ready to hold."""

_U32 = struct.Struct(">I")


@dataclass(slots=True)
class FrameEntry:
    """A frame's line in the table: byte offset in the body, rows, header bytes, digest of the header."""

    offset: int
    rows: int
    header_size: int
    digest: bytes


@dataclass(slots=True)
class FrameTable:
    """The frame table: column names in the order of their first appearance, and where each frame stands."""

    columns: list[str] = field(default_factory=list)
    rows: int = 0
    frames: list[FrameEntry] = field(default_factory=list)

    def pack(self) -> bytes:
        frames = [[entry.offset, entry.rows, entry.header_size, entry.digest] for entry in self.frames]
        return pack({"columns": self.columns, "rows": self.rows, "frames": frames})


def read_table(raw: bytes, digest: str) -> FrameTable:
    """The table of `raw`, whose SHA-256 (hex) the body info vouches for.

    Raises:
        DigestMismatchError: these are not the bytes that were stored.
    """
    if sha256(raw).hexdigest() != digest:
        raise DigestMismatchError("The body's frame table is damaged; publish the body again")
    fields = unpack(raw)
    return FrameTable(fields["columns"], fields["rows"], [FrameEntry(*entry) for entry in fields["frames"]])


class FrameWriter:
    """Frames in, bytes out; `end()` closes the body. `table` and its place are known then."""

    def __init__(self) -> None:
        self.table = FrameTable()
        self.table_offset = 0
        self.table_bytes = b""
        self._encoder = ChunkEncoder()
        self._offset = 0

    @property
    def plain_size(self) -> int:
        """Bytes of the last frame's values before they were coded: what it takes in memory, roughly."""
        return self._encoder.plain_size

    def begin(self) -> bytes:
        return self._count(MAGIC)

    def frame(self, frame: Frame) -> bytes:
        """The bytes of `frame`, whose rows follow those already written."""
        self._encoder.plain_size = 0
        chunks = [
            self._encoder.encode(name, values, ragged=name in frame.ragged) for name, values in frame.columns.items()
        ]
        return self.chunks(chunks, frame.ids)

    def arrays(self, columns: Mapping[str, Array], ids: Sequence[int]) -> bytes:
        """As `frame`, of Arrow columns."""
        self._encoder.plain_size = 0
        return self.chunks([self._encoder.encode_array(name, array) for name, array in columns.items()], ids)

    def chunks(self, chunks: Sequence[Chunk], ids: Sequence[int]) -> bytes:
        """The bytes of a frame whose column chunks are encoded already."""
        fields: dict[str, Any] = {"n": len(ids), "f": ids[0] if ids else 0}
        if not isinstance(ids, range):
            fields["i"] = list(ids)
        fields["c"] = [[chunk.name, len(chunk.raw), chunk.coding, chunk.digest] for chunk in chunks]
        _check_row_size(sum(len(chunk.raw) for chunk in chunks))
        header = pack(fields)
        known = set(self.table.columns)
        self.table.columns.extend(chunk.name for chunk in chunks if chunk.name not in known)
        self.table.frames.append(FrameEntry(self._offset, len(ids), len(header), digest_of(header)))
        self.table.rows += len(ids)
        return self._count(b"".join((_U32.pack(len(header)), header, *(chunk.raw for chunk in chunks))))

    def end(self) -> bytes:
        self.table_offset = self._offset + _U32.size
        self.table_bytes = self.table.pack()
        return self._count(b"".join((_U32.pack(0), self.table_bytes, _U32.pack(len(self.table_bytes)), MAGIC)))

    def _count(self, raw: bytes) -> bytes:
        self._offset += len(raw)
        return raw


@dataclass(slots=True)
class Arrays:
    """A frame whose columns are Arrow arrays."""

    columns: dict[str, Array]
    ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)


class Choice(Protocol):
    """Which columns and rows of a frame are taken: a selector, or one within a grant's scope."""

    def has_column(self, name: str) -> bool: ...

    def places(self, ids: Sequence[int]) -> list[int] | None:
        """Which places of `ids` are taken; None is all of them."""


@dataclass(slots=True)
class RawFrame:
    """A frame whose header is read and whose chunks are not decoded."""

    ids: Sequence[int]
    chunks: list[Chunk]
    header: bytes

    def decode(self, choice: Choice, *, verify: bool = True) -> Frame:
        """The rows and columns of `choice`, in the body's order; no other column is decoded.

        Without `verify` somebody else vouches for the bytes: the digest of the whole body, at its end.
        """
        return self._decoded(choice, choice.places(self.ids), verify=verify)

    def _decoded(self, choice: Choice, places: list[int] | None, *, verify: bool) -> Frame:
        chunks = self._wanted(choice)
        with collector_paused():
            columns = {chunk.name: chunk.values(len(self.ids), places, verify=verify) for chunk in chunks}
        ragged = frozenset(chunk.name for chunk in chunks if chunk.coding & SPARSE)
        return Frame(columns, self.ids if places is None else [self.ids[place] for place in places], ragged)

    def arrays(self, choice: Choice, *, verify: bool = True) -> Arrays:
        """As `decode`, as Arrow columns."""
        columns = {chunk.name: chunk.array(len(self.ids), verify=verify) for chunk in self._wanted(choice)}
        places = choice.places(self.ids)
        if places is None:
            return Arrays(columns, self.ids)
        return Arrays(
            {name: array.take(places) for name, array in columns.items()}, [self.ids[place] for place in places]
        )

    def cut(self, choice: Choice, writer: FrameWriter) -> bytes:
        """The bytes of what `choice` takes. Columns are passed on as they are, and decoded only to leave rows out."""
        places = choice.places(self.ids)
        if places is not None:
            if any(chunk.coding & ARROW for chunk in self.chunks):
                part = self.arrays(choice)
                return writer.arrays(part.columns, part.ids)
            return writer.frame(self._decoded(choice, places, verify=True))
        chunks = self._wanted(choice)
        for chunk in chunks:
            chunk.verify()
        return writer.chunks(chunks, self.ids)

    def _wanted(self, choice: Choice) -> list[Chunk]:
        return [chunk for chunk in self.chunks if choice.has_column(chunk.name)]


class FrameReader:
    """Bytes in, raw frames out, whatever the pieces; holds one frame and one piece at most.

    `from_start` is False for bytes that begin at a frame and have no magic before it.
    """

    def __init__(self, *, from_start: bool = True) -> None:
        self.ended = False
        self._pieces: deque[memoryview] = deque()
        self._size = 0
        self._needed = len(MAGIC) if from_start else _U32.size
        self._step: Callable[[], RawFrame | None] = self._magic if from_start else self._header_size
        self._header = b""
        self._ids: Sequence[int] = ()
        self._lines: list[Line] = []

    def feed(self, piece: bytes) -> Iterator[RawFrame]:
        """The frames that `piece` completes.

        Raises:
            EncodingError: the bytes are no body encoding.
        """
        if piece:
            self._pieces.append(memoryview(piece))
            self._size += len(piece)
        while self._size >= self._needed and not self.ended:
            if frame := self._step():
                yield frame

    def _take(self, count: int) -> memoryview:
        """The next `count` bytes, which are there; they are copied only where they stand in more than one piece."""
        self._size -= count
        taken: list[memoryview] = []
        while count:
            piece = self._pieces.popleft()
            if len(piece) > count:
                self._pieces.appendleft(piece[count:])
                piece = piece[:count]
            taken.append(piece)
            count -= len(piece)
        return taken[0] if len(taken) == 1 else memoryview(b"".join(taken))

    def _await(self, count: int, step: Callable[[], RawFrame | None]) -> None:
        _check_size(count)
        self._needed, self._step = count, step

    def _magic(self) -> None:
        if self._take(len(MAGIC)) != MAGIC:
            raise EncodingError("These bytes are no rows of broker-plane, or of a later version")
        self._await(_U32.size, self._header_size)

    def _header_size(self) -> None:
        (size,) = _U32.unpack(self._take(_U32.size))
        self.ended = size == 0
        self._await(size, self._read_header)

    def _read_header(self) -> None:
        self._header = bytes(self._take(self._needed))
        self._ids, self._lines = _read_header(self._header)
        self._await(sum(size for _, size, _, _ in self._lines), self._frame)

    def _frame(self) -> RawFrame:
        chunks = [Chunk(name, coding, digest, self._take(size)) for name, size, coding, digest in self._lines]
        frame = RawFrame(self._ids, chunks, self._header)
        self._await(_U32.size, self._header_size)
        return frame


def _read_header(raw: bytes) -> tuple[Sequence[int], list[Line]]:
    """The row ids and the chunks' lines of a frame header, which nobody has verified yet.

    Raises:
        EncodingError: it is none.
    """
    fields = unpack(raw)
    try:
        ids = fields["i"] if "i" in fields else range(fields["f"], fields["f"] + fields["n"])
        lines = [(str(name), int(size), int(coding), bytes(digest)) for name, size, coding, digest in fields["c"]]
        sound = len(ids) == fields["n"] and all(size >= 0 for _, size, _, _ in lines)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EncodingError("These bytes are no frame of rows", reason=repr(error)) from error
    if not sound:
        raise EncodingError("These bytes are no frame of rows")
    return ids, lines


def _check_row_size(size: int) -> None:
    if size > MAX_FRAME_BYTES - (16 << 20):
        raise TooLargeError(
            f"A group of rows has {size >> 20} MiB; the most is {(MAX_FRAME_BYTES >> 20) - 16}. "
            "Publish very large values as bodies of their own"
        )


def _check_size(size: int) -> None:
    if size > MAX_FRAME_BYTES:
        raise EncodingError(f"A frame of {size} bytes; the most is {MAX_FRAME_BYTES >> 20} MiB")
