"""Body info: what is known of a stored body, without its bytes. It travels as msgpack and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgpack
import msgspec
from msgspec import Meta

from broker_plane.errors import EncodingError, WireError
from broker_plane.wire.names import BodyId

FORMAT_VERSION = 1
"""Of stored bodies. A reader refuses a later one by name and never guesses; a writer writes only its own."""

ROWS_TYPE = "application/vnd.broker-plane.rows"
BYTES_TYPE = "application/octet-stream"

Count = Annotated[int, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
"""SHA-256 in hex, or nothing."""


class Table(msgspec.Struct, frozen=True):
    """Where the frame table of a rows body stands in its bytes, and its SHA-256 (hex)."""

    offset: Count
    size: Count
    digest: str


class BodyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One stored body. `size` is in stored bytes, `created` and `expires` in unix seconds, `digest` is SHA-256 in hex.

    `runs` says where its chunks stand in the stream: `(first sequence, count)`, in order. Where a grant shows a part,
    columns and rows are those of the part, and what speaks of the whole (digest, size, table, chunks) is empty.
    """

    id: BodyId
    owner: str
    kind: Literal["rows", "bytes"]
    size: Count
    digest: Digest
    media_type: str
    name: str = ""
    created: float
    expires: int
    rows: int | None = None
    columns: tuple[str, ...] = ()
    table: Table | None = None
    chunks: Count
    chunk_bytes: Annotated[int, Meta(ge=1)]
    runs: tuple[tuple[int, int], ...] = ()
    format: int = FORMAT_VERSION
    collect: bool = False
    """It is freed after the last use of its last grant; so each of them is recorded when it is minted."""
    feed: str = ""
    """The feed of which it is a version: it lives as long as its notice."""

    def to_wire(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb(self.to_wire())
        return packed


def body_info(fields: Any) -> BodyInfo:
    """The body info of parsed `fields`.

    Raises:
        EncodingError: it was written by a later version of this package.
        WireError: it is no body info.
    """
    version = fields.get("format") if isinstance(fields, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise EncodingError(
            f"This body has format {version}; this version of broker-plane reads up to {FORMAT_VERSION}. Upgrade it"
        )
    try:
        return msgspec.convert(fields, BodyInfo)
    except msgspec.ValidationError as error:
        raise WireError("What was read is no body info", reason=str(error)) from error


def unpack_body_info(raw: bytes) -> BodyInfo:
    try:
        fields = msgpack.unpackb(raw, use_list=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError("What was read is no body info", reason=str(error)) from error
    return body_info(fields)


def runs_of(sequences: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Places in a stream as `(first, count)`, in their order."""
    runs: list[tuple[int, int]] = []
    for sequence in sequences:
        if runs and sequence == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((sequence, 1))
    return tuple(runs)
