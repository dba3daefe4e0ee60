"""The body encoding of rows, format 1: frames of row groups, each column in its own chunk, a frame table at the end.
Pure.

    body   = "BPR1" frame* end
    frame  = u32 header-size, header, chunk*
    header = msgpack {"n": rows, "f": first row id, "i": row ids or absent, "c": [[name, size, coding, digest]*]}
    chunk  = msgpack of the column's values, coded as `chunks` says
    end    = u32 0, table, u32 table-size, "BPR1"
    table  = msgpack {"columns": [name*], "rows": n, "frames": [[offset, rows, header-size, header digest]*]}

All u32 are big-endian. Digests are the first 16 bytes of SHA-256 of the stored bytes. The body info has the digest of
the table, the table those of the headers, a header those of its chunks. So a projection verifies what it decodes, and a
request for 2 of 29 columns decodes 2. docs/decisions/0002 says why this is not Arrow, Parquet or rows of maps.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from msgspec import Meta

from broker_plane.errors import DigestMismatchError, EncodingError, TabularError, TooLargeError
from broker_plane.tabular import arrow
from broker_plane.tabular.arrow import Array
from broker_plane.tabular.chunks import ARROW, SPARSE, Chunk, ChunkEncoder, chunk_digest
from broker_plane.tabular.frame import Frame, check_column_names
from broker_plane.tabular.types import collector_paused, pack, pack_scalars
from broker_plane.tabular.weighing import Budget, reading_budget
from broker_plane.wire.bounds import (
    FRAME_MEMORY,
    MAX_BODY_ROWS,
    MAX_COLUMNS,
    MAX_EXPANDED,
    MAX_FRAME_BYTES,
    MAX_FRAME_ROWS,
    MAX_FRAMES,
    MAX_HEADER_BYTES,
    MAX_NAMES_BYTES,
    MAX_SAFE_INT,
    MAX_TABLE_BYTES,
    MOST_FRAME_MEMORY,
)
from broker_plane.wire.names import ROW_ID

T = TypeVar("T")
Line = tuple[str, Annotated[int, Meta(ge=0, le=MAX_FRAME_BYTES)], int, bytes]
"""A column's chunk in a frame's header: name, size, coding, digest."""

MAGIC = b"BPR1"
_U32 = struct.Struct(">I")
_HASHED_PER_VALUE = 64
"""Bytes that are hashed in about the time in which one value is decoded."""

_NAME_HEAD = 5
"""Maximum number of bytes that msgpack puts before a name."""

_ELSEWHERE = "Publish very large values as separate bodies"


_Names = Annotated[list[str], Meta(max_length=MAX_COLUMNS)]
_Size = Annotated[int, Meta(ge=0, le=MAX_SAFE_INT)]
_FrameRows = Annotated[int, Meta(ge=0, le=MAX_FRAME_ROWS)]


class FrameEntry(msgspec.Struct, array_like=True, gc=False):
    """A frame's line in the table: byte offset in the body, rows, header bytes, digest of the header."""

    offset: _Size
    rows: _FrameRows
    header_size: Annotated[int, Meta(ge=1, le=MAX_HEADER_BYTES)]
    digest: Annotated[bytes, Meta(max_length=32)]


class FrameTable(msgspec.Struct):
    """The frame table: column names in the order of their first appearance, and the place of each frame."""

    columns: _Names = []  # msgspec copies it
    rows: Annotated[int, Meta(ge=0, le=MAX_BODY_ROWS)] = 0
    frames: Annotated[list[FrameEntry], Meta(max_length=MAX_FRAMES)] = []

    def pack(self) -> bytes:
        frames = [[entry.offset, entry.rows, entry.header_size, entry.digest] for entry in self.frames]
        return pack({"columns": self.columns, "rows": self.rows, "frames": frames})


_TABLE = msgspec.msgpack.Decoder(FrameTable)


def read_table(raw: bytes, digest: str, end: int | None = None) -> FrameTable:
    """The table in `raw`, whose SHA-256 (hex) is in the body info; its frames end before the byte `end`.

    Raises:
        DigestMismatchError: these are not the bytes that were stored.
        EncodingError: they are not a valid table.
    """
    if sha256(raw).hexdigest() != digest:
        raise DigestMismatchError("The body's frame table is damaged; publish the body again")
    if len(raw) > MAX_TABLE_BYTES:
        raise EncodingError(f"The body's frame table has more than {MAX_TABLE_BYTES >> 20} MiB")
    table = _decoded(_TABLE, raw, "The body's frame table is not valid")
    check_columns(table.columns)
    if end is not None:
        _check_frames(table, end)
    return table


def _check_frames(table: FrameTable, end: int) -> None:
    """Raise unless the frames follow each other and have as many rows as the table says."""
    offsets = [entry.offset for entry in table.frames]
    sound = (
        sum(entry.rows for entry in table.frames) == table.rows
        and (not offsets or offsets[0] >= len(MAGIC))
        and all(stop - start >= _U32.size for start, stop in pairwise([*offsets, end] if offsets else ()))
    )
    if not sound:
        raise EncodingError("The body's frame table is inconsistent")


def check_columns(names: Sequence[str]) -> None:
    """Raise EncodingError unless these are valid columns of a body or of a frame."""
    if len(set(names)) < len(names) or ROW_ID in names:
        raise EncodingError("The columns of the body have a name twice, or a reserved one")


def _decoded(decoder: msgspec.msgpack.Decoder[T], raw: bytes, refusal: str) -> T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EncodingError(refusal, reason=repr(error)[:300]) from error


@dataclass(slots=True)
class Arrays:
    """A frame whose columns are Arrow arrays."""

    columns: dict[str, Array]
    ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> Arrays:
        """The rows from position `start` to `stop`."""
        columns = {name: array.slice(start, stop - start) for name, array in self.columns.items()}
        return Arrays(columns, self.ids[start:stop])


@dataclass(slots=True)
class Held:
    """A frame whose columns are as they were published: Arrow arrays of a table, lists of values of rows."""

    columns: dict[str, Array | list[Any]]
    ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)


P = TypeVar("P", Frame, Arrays)


class FrameWriter:
    """Encodes frames; `end()` closes the body. `table` and its place are known then.

    Nothing is written that readers would refuse (wire/bounds.py): a frame that is too large is split. Values that are
    not known to be `plain` are converted (plain.py); `changed` names the columns of the last frame that were.
    """

    def __init__(self, *, plain: bool = True) -> None:
        self.table = FrameTable()
        self.table_offset = 0
        self.table_bytes = b""
        self.plain_size = 0
        """The size of the last frame's values before coding, which is roughly what it takes in memory."""
        self._encoder = ChunkEncoder(plain=plain)
        self._offset = 0
        self._known: set[str] = set()
        self._bare: dict[str, None] = {}
        self._names_bytes = 0

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(self._encoder.changed)

    def begin(self, columns: Sequence[str] = ()) -> bytes:
        """The first bytes of a body that has `columns` in any case, in this order, and others after them.

        Raises:
            TabularError: an invalid name.
            TooLargeError: too many columns.
        """
        check_column_names(columns)
        self._bare = dict.fromkeys(columns)
        self._note_names(list(self._bare))
        return self._count(MAGIC)

    def frame(self, frame: Frame) -> bytes:
        """The bytes of `frame`, whose rows follow those already written.

        Raises:
            TooLargeError: one of its rows is more than readers decode.
        """
        self.plain_size = 0
        self._encoder.changed.clear()
        return b"".join(self._fitting(frame, self._encoded))

    def arrays(self, columns: Mapping[str, Array], ids: Sequence[int]) -> bytes:
        """As `frame`, of Arrow columns."""
        self.plain_size = 0
        return b"".join(self._fitting(Arrays(dict(columns), ids), self._encoded_arrays))

    def chunks(self, chunks: Sequence[Chunk], ids: Sequence[int]) -> bytes:
        """The bytes of a frame whose column chunks are already encoded."""
        fields: dict[str, Any] = {"n": len(ids), "f": ids[0] if ids else 0}
        if not isinstance(ids, range):
            fields["i"] = list(ids)
        fields["c"] = [[chunk.name, len(chunk.raw), chunk.coding, chunk.digest] for chunk in chunks]
        _check_row_size(sum(len(chunk.raw) for chunk in chunks))
        header = pack_scalars(fields)
        self._note([chunk.name for chunk in chunks], len(ids), header)
        return self._count(b"".join((_U32.pack(len(header)), header, *(chunk.raw for chunk in chunks))))

    def _fitting(self, part: P, encode: Callable[[P, Budget], list[Chunk]]) -> Iterator[bytes]:
        """The bytes of `part`, in as many frames as readers need."""
        count = len(part)
        if count > 1:
            try:
                if count <= MAX_FRAME_ROWS:
                    budget = Budget(FRAME_MEMORY, MAX_EXPANDED)
                    chunks = encode(part, budget)
                    self.plain_size += budget.size
                    yield self.chunks(chunks, part.ids)
                    return
            except EncodingError:
                pass
            yield from self._fitting(part.part(0, count // 2), encode)
            yield from self._fitting(part.part(count // 2, count), encode)
            return
        yield self.chunks(self._one(part, encode), part.ids)

    def _one(self, part: P, encode: Callable[[P, Budget], list[Chunk]]) -> list[Chunk]:
        """The chunks of one row. If they need more memory than their coded size allows, they are not coded."""
        for expanded in (MAX_EXPANDED, 0):
            budget = Budget(MOST_FRAME_MEMORY, expanded)
            try:
                chunks = encode(part, budget)
            except EncodingError as error:
                raise TooLargeError(f"A row is too large: {error}. {_ELSEWHERE}") from error
            if budget.memory.within(reading_budget(sum(len(chunk.raw) for chunk in chunks)).memory.most):
                self.plain_size += budget.size
                return chunks
        raise TooLargeError(f"A row holds more values than its size allows. {_ELSEWHERE}")

    def _encoded(self, frame: Frame, budget: Budget) -> list[Chunk]:
        self._encoder.budget = budget
        return [
            self._encoder.encode(name, values, ragged=name in frame.ragged, first=frame.ids[0] if frame.ids else 0)
            for name, values in frame.columns.items()
        ]

    def _encoded_arrays(self, arrays: Arrays, budget: Budget) -> list[Chunk]:
        self._encoder.budget = budget
        return [self._encoder.encode_array(name, array) for name, array in arrays.columns.items()]

    def _note(self, names: Sequence[str], rows: int, header: bytes) -> None:
        """Add a frame to the table.

        Raises:
            TooLargeError: the body would have too many columns, rows or frames.
        """
        table = self.table
        self._note_names([name for name in names if name not in self._known])
        for name in names if self._bare else ():
            self._bare.pop(name, None)
        if table.rows + rows > MAX_BODY_ROWS or len(table.frames) == MAX_FRAMES:
            raise TooLargeError(f"A body has at most {MAX_BODY_ROWS} rows and {MAX_FRAMES} groups of rows")
        table.frames.append(FrameEntry(self._offset, rows, len(header), chunk_digest(header)))
        table.rows += rows

    def _note_names(self, new: list[str]) -> None:
        self._names_bytes += sum(len(name.encode("utf-8", "surrogatepass")) + _NAME_HEAD for name in new)
        if len(self.table.columns) + len(new) > MAX_COLUMNS or self._names_bytes > MAX_NAMES_BYTES:
            raise TooLargeError(
                f"The rows have more than {MAX_COLUMNS} columns, or their names more than {MAX_NAMES_BYTES >> 20} MiB. "
                "Put columns that few rows have into one column, as a map"
            )
        self._known.update(new)
        self.table.columns.extend(new)

    def end(self) -> bytes:
        """The last bytes. Columns without any value are written in a frame without rows."""
        rows = self.table.rows
        bare = self.frame(Frame({name: [] for name in self._bare}, range(rows, rows))) if self._bare else b""
        return bare + self._end()

    def _end(self) -> bytes:
        self.table_offset = self._offset + _U32.size
        self.table_bytes = self.table.pack()
        return self._count(b"".join((_U32.pack(0), self.table_bytes, _U32.pack(len(self.table_bytes)), MAGIC)))

    def _count(self, raw: bytes) -> bytes:
        self._offset += len(raw)
        return raw


class FrameChoice(Protocol):
    """The columns and rows to take of a frame: a selector, or one within a grant's scope."""

    @property
    def every_row(self) -> bool:
        """Whether all rows of every frame are taken."""

    def has_column(self, name: str) -> bool: ...

    def places(self, ids: Sequence[int]) -> list[int] | None:
        """The positions of `ids` that are taken; None is all of them."""


@dataclass(slots=True)
class RawFrame:
    """A frame with a parsed header and undecoded chunks."""

    ids: Sequence[int]
    chunks: list[Chunk]
    header: bytes

    def decode_cost(self, choice: FrameChoice) -> int:
        """The work of `decode`: the number of values to decode, and one more for each 16 bytes of them."""
        chunks = self._wanted(choice)
        return len(self.ids) * len(chunks) + sum(chunk.plain_size for chunk in chunks) // 16

    def cut_cost(self, choice: FrameChoice) -> int:
        """The work of `cut`, as `decode_cost`: columns that are passed on unchanged are only hashed."""
        if choice.every_row:
            return sum(len(chunk.raw) for chunk in self._wanted(choice)) // _HASHED_PER_VALUE
        return self.decode_cost(choice)

    def decode(self, choice: FrameChoice, *, verify: bool = True) -> Frame:
        """The rows and columns of `choice`, in the body's order; no other column is decoded.

        Without `verify` the caller must verify the digest of the whole body at its end.
        """
        return self._decoded(choice, choice.places(self.ids), verify=verify)

    def _decoded(self, choice: FrameChoice, places: list[int] | None, *, verify: bool) -> Frame:
        chunks = self._wanted(choice)
        budget = reading_budget(sum(len(chunk.raw) for chunk in chunks))
        count = len(self.ids)
        with collector_paused():
            columns = {chunk.name: chunk.values(count, places, verify=verify, budget=budget) for chunk in chunks}
        ragged = frozenset(chunk.name for chunk in chunks if chunk.coding & SPARSE)
        ids = self.ids if places is None else [self.ids[place] for place in places]
        return Frame(columns, ids, ragged, budget.size, budget.memory.spent)

    def arrays(self, choice: FrameChoice, *, verify: bool = True) -> Arrays:
        """As `decode`, as Arrow columns."""
        chunks = self._wanted(choice)
        budget = reading_budget(sum(len(chunk.raw) for chunk in chunks))
        columns = {chunk.name: chunk.array(len(self.ids), verify=verify, budget=budget) for chunk in chunks}
        places = choice.places(self.ids)
        if places is None:
            return Arrays(columns, self.ids)
        return Arrays(
            {name: arrow.taken(array, places) for name, array in columns.items()}, [self.ids[place] for place in places]
        )

    def held(self, choice: FrameChoice, *, verify: bool = True) -> Held:
        """As `decode`, with each column as it was published."""
        chunks = self._wanted(choice)
        budget = reading_budget(sum(len(chunk.raw) for chunk in chunks))
        places, count = choice.places(self.ids), len(self.ids)
        columns: dict[str, Array | list[Any]] = {}
        with collector_paused():
            for chunk in chunks:
                if chunk.coding & ARROW:
                    array = chunk.array(count, verify=verify, budget=budget)
                    columns[chunk.name] = array if places is None else arrow.taken(array, places)
                else:
                    columns[chunk.name] = chunk.values(count, places, verify=verify, budget=budget)
        return Held(columns, self.ids if places is None else [self.ids[place] for place in places])

    def cut(self, choice: FrameChoice, writer: FrameWriter) -> bytes:
        """The bytes of what `choice` takes. Columns are passed on unchanged, and decoded only if rows must be left
        out.
        """
        places = choice.places(self.ids)
        chunks = self._wanted(choice)
        if places is None:
            for chunk in chunks:
                chunk.verify()
            return writer.chunks(chunks, self.ids)
        try:
            if chunks and all(chunk.coding & ARROW for chunk in chunks):
                part = self.arrays(choice)
                return writer.arrays(part.columns, part.ids)
            return writer.frame(self._decoded(choice, places, verify=True))
        except EncodingError:
            raise
        except TabularError as error:  # what can be decoded but not encoded was not written by us
            raise EncodingError("A group of rows holds values that no writer writes", reason=str(error)) from error

    def _wanted(self, choice: FrameChoice) -> list[Chunk]:
        return [chunk for chunk in self.chunks if choice.has_column(chunk.name)]


class FrameReader:
    """Parses raw frames from bytes in any pieces; holds at most one frame and one piece.

    `from_start` is False for bytes that start at a frame, without the magic bytes.
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
        self._frames = 0

    def feed(self, piece: bytes) -> Iterator[RawFrame]:
        """The frames that `piece` completes.

        Raises:
            EncodingError: the bytes are not the body encoding.
        """
        if piece:
            self._pieces.append(memoryview(piece))
            self._size += len(piece)
        while self._size >= self._needed and not self.ended:
            if frame := self._step():
                yield frame

    def _take(self, count: int) -> memoryview:
        """The next `count` bytes, which have arrived; copied only if they are in several pieces."""
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

    def _await(self, count: int, most: int, step: Callable[[], RawFrame | None]) -> None:
        if count > most:
            raise EncodingError(f"A group of rows, or its header, has {count} bytes; the most is {most}")
        self._needed, self._step = count, step

    def _magic(self) -> None:
        if self._take(len(MAGIC)) != MAGIC:
            raise EncodingError("These bytes are not rows of broker-plane, or of a later version")
        self._await(_U32.size, _U32.size, self._header_size)

    def _header_size(self) -> None:
        (size,) = _U32.unpack(self._take(_U32.size))
        self.ended = size == 0
        self._await(size, MAX_HEADER_BYTES, self._read_header)

    def _read_header(self) -> None:
        self._frames += 1
        if self._frames > MAX_FRAMES:
            raise EncodingError(f"The body has more than {MAX_FRAMES} groups of rows")
        self._header = bytes(self._take(self._needed))
        self._ids, self._lines = _read_header(self._header)
        self._await(sum(size for _, size, _, _ in self._lines), MAX_FRAME_BYTES, self._frame)

    def _frame(self) -> RawFrame:
        chunks = [Chunk(name, coding, digest, self._take(size)) for name, size, coding, digest in self._lines]
        frame = RawFrame(self._ids, chunks, self._header)
        self._await(_U32.size, _U32.size, self._header_size)
        return frame


class _Header(msgspec.Struct):
    n: _FrameRows
    f: _Size
    c: Annotated[list[Line], Meta(max_length=MAX_COLUMNS)]
    i: Annotated[list[_Size], Meta(max_length=MAX_FRAME_ROWS)] | None = None


_HEADER = msgspec.msgpack.Decoder(_Header)


def _read_header(raw: bytes) -> tuple[Sequence[int], list[Line]]:
    """The row ids and the chunk lines of a frame header, unverified.

    Raises:
        EncodingError: it is not a frame header.
    """
    header = _decoded(_HEADER, raw, "These bytes are not a frame of rows")
    ids = range(header.f, header.f + header.n) if header.i is None else header.i
    if len(ids) != header.n:
        raise EncodingError("These bytes are not a frame of rows")
    check_columns([name for name, _, _, _ in header.c])
    return ids, header.c


def _check_row_size(size: int) -> None:
    if size > MAX_FRAME_BYTES:
        raise TooLargeError(f"A row has {size >> 20} MiB; the most is {MAX_FRAME_BYTES >> 20}. {_ELSEWHERE}")
