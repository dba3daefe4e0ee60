"""Body info: the metadata of a stored body. It is encoded as msgpack and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgpack
import msgspec
from msgspec import Meta

from broker_plane.errors import EncodingError, TooLargeError, WireError
from broker_plane.wire.bounds import (
    LAST_SECOND,
    MAX_BODY_ROWS,
    MAX_CHUNKS,
    MAX_COLUMNS,
    MAX_MEDIA_TYPE,
    MAX_NAME,
    MAX_RUNS,
    MAX_SAFE_INT,
    MAX_TABLE_BYTES,
)
from broker_plane.wire.names import ROW_ID, BodyId

FORMAT_VERSION = 1
"""The format of stored bodies. Readers refuse a later one by name and never guess; writers write only this one."""

ROWS_TYPE = "application/vnd.broker-plane.rows"
BYTES_TYPE = "application/octet-stream"

DIGEST_CHARACTERS = 64
_LEAST_CHUNK_BYTES, _MOST_CHUNK_BYTES = 1 << 10, 1 << 26
"""Minimum chunk size: NATS takes no message above 64 MiB, and tiny chunks would be many messages for few bytes."""

_TABLE_HEAD, _TABLE_TAIL = 8, 8
"""The bytes of a rows body around its frames and its table (tabular/codec.py)."""

Count = Annotated[int, Meta(ge=0, le=MAX_SAFE_INT)]
ChunkBytes = Annotated[int, Meta(ge=1, le=_MOST_CHUNK_BYTES)]
Second = Annotated[float, Meta(ge=0, le=LAST_SECOND)]
"""Unix seconds; NaN is refused."""

Run = tuple[Annotated[int, Meta(ge=1, le=MAX_SAFE_INT)], Annotated[int, Meta(ge=1, le=MAX_CHUNKS)]]
Digest = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
"""SHA-256 in hex, or empty."""


class TablePlace(msgspec.Struct, frozen=True):
    """The place of the frame table in the bytes of a rows body, and its SHA-256 (hex)."""

    offset: Count
    size: Annotated[int, Meta(ge=0, le=MAX_TABLE_BYTES)]
    digest: Digest


class BodyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One stored body. `size` is in stored bytes, `created` and `expires` in unix seconds, `digest` is SHA-256 in hex.

    `runs` has the places of its chunks in the stream: `(first sequence, count)`, in order. If a grant shows only a
    part, columns and rows are those of the part, and fields about the whole (digest, size, table, chunks) are empty.
    """

    id: BodyId
    owner: str
    kind: Literal["rows", "bytes"]
    size: Count
    digest: Digest
    media_type: Annotated[str, Meta(max_length=MAX_MEDIA_TYPE)]
    name: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    created: Second
    expires: Annotated[int, Meta(ge=0, le=LAST_SECOND)]
    rows: Annotated[int, Meta(ge=0, le=MAX_BODY_ROWS)] | None = None
    columns: Annotated[tuple[str, ...], Meta(max_length=MAX_COLUMNS)] = ()
    table: TablePlace | None = None
    chunks: Annotated[int, Meta(ge=0, le=MAX_CHUNKS)]
    chunk_bytes: ChunkBytes
    runs: Annotated[tuple[Run, ...], Meta(max_length=MAX_RUNS)] = ()
    format: int = FORMAT_VERSION
    collect: bool = False
    """The body is deleted after the last use of its last grant, so each grant is recorded when it is minted."""
    feed: str = ""
    """The feed that the body is a version of; it then lives as long as its notice."""

    def to_wire(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb(self.to_wire())
        return packed


class _Versioned(msgspec.Struct):
    format: int = FORMAT_VERSION


_VERSION, _INFO = msgspec.msgpack.Decoder(_Versioned), msgspec.msgpack.Decoder(BodyInfo)


def body_info(fields: Any) -> BodyInfo:
    """The body info of parsed `fields`.

    Raises:
        EncodingError: it was written by a later version of this package.
        WireError: the fields are not a body info.
    """
    return _checked(lambda: msgspec.convert(fields, _Versioned), lambda: msgspec.convert(fields, BodyInfo))


def unpack_body_info(raw: bytes) -> BodyInfo:
    """The body info that `pack` encoded. Raises as `body_info`, without creating objects for anything else."""
    return _checked(lambda: _VERSION.decode(raw), lambda: _INFO.decode(raw))


def _checked(version: Callable[[], _Versioned], info: Callable[[], BodyInfo]) -> BodyInfo:
    try:
        number = version().format
        if number > FORMAT_VERSION:
            raise EncodingError(
                f"This body has format {number}; this version of broker-plane reads up to {FORMAT_VERSION}. Upgrade it"
            )
        return info()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("These bytes are not a body info", reason=str(error)[:300]) from error


def check_stored(body: BodyInfo) -> None:
    """Raise unless the fields of `body`, as a whole stored body, are consistent.

    Raises:
        WireError: names the inconsistency.
    """
    problem = _time_problem(body) or _chunk_problem(body) or _rows_problem(body)
    if problem:
        raise WireError(f"The metadata of this body contradicts itself: {problem}")


def check_name(name: str, media_type: str) -> None:
    """Raise TooLargeError if readers would refuse the name or the media type of a body to be stored."""
    if len(name) > MAX_NAME or len(media_type) > MAX_MEDIA_TYPE:
        raise TooLargeError(
            f"A body's name has at most {MAX_NAME} characters, and its media type {MAX_MEDIA_TYPE}; shorten it"
        )


def _time_problem(body: BodyInfo) -> str:
    return "" if body.created <= body.expires else "it expires before it was created"


def _chunk_problem(body: BodyInfo) -> str:
    if len(body.digest) != DIGEST_CHARACTERS:
        return "it has no digest"
    if body.chunks != -(-body.size // body.chunk_bytes):
        return f"{body.size} bytes are not {body.chunks} chunks of {body.chunk_bytes}"
    if body.chunks > 1 and body.chunk_bytes < _LEAST_CHUNK_BYTES:
        return "its chunks are too small"
    if (body.runs or body.chunks > 1) and sum(count for _, count in body.runs) != body.chunks:
        return "its runs do not match its chunks"
    if any(then < first + count for (first, count), (then, _) in pairwise(body.runs)):
        return "its runs overlap"
    return ""


def _rows_problem(body: BodyInfo) -> str:
    table = body.table
    if body.kind == "bytes":
        return "it has no rows but a frame table" if table or body.columns or body.rows is not None else ""
    if table is None or body.rows is None:
        return "it has rows but no frame table"
    if table.offset < _TABLE_HEAD or table.offset + table.size + _TABLE_TAIL != body.size:
        return "its frame table is not at its end"
    if len(set(body.columns)) < len(body.columns) or ROW_ID in body.columns:
        return "it has two columns with the same name, or one with a reserved name"
    return ""


def runs_of(sequences: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Places in a stream as `(first, count)`, in order."""
    runs: list[tuple[int, int]] = []
    for sequence in sequences:
        if runs and sequence == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((sequence, 1))
    return tuple(runs)
