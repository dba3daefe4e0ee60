"""Streams on the wire: a sequence of rows or byte chunks that one reader acknowledges while it is published. Pure.

The items of a stream are in a JetStream stream of its own, numbered from 1 without gaps. The reader acknowledges by
number; acknowledged items are deleted, and never more than `buffer_size` items are unacknowledged.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgpack
import orjson

from broker_plane.errors import WireError
from broker_plane.wire.bounds import LAST_SECOND
from broker_plane.wire.names import BodyId, parse_body_id, parse_owner
from broker_plane.wire.presigned_errors import error_of_fields

END_HEADER = "Bp-End"
END_SIGNAL = "[DONE]"
MAX_ITEM_BYTES = 512 * 1024
MAX_BUFFER = 10_000
_MAX_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """The record of a stream. `buffer_size` is in items, `expires` in unix seconds; rows travel as JSON objects."""

    id: BodyId
    owner: str
    kind: Literal["rows", "bytes"]
    media_type: str
    buffer_size: int
    end_signal: str
    expires: int

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata of its JetStream stream, whose values are strings."""
        names = ("owner", "kind", "media_type", "buffer_size", "end_signal", "expires")
        return {f"bp-{name}": str(getattr(self, name)) for name in names}


@dataclass(frozen=True, slots=True)
class StreamItem:
    """`data` is a row as JSON, or a chunk. The last item marks the end and has no data."""

    number: int
    data: bytes
    end: bool = False

    def to_json(self, stream: StreamInfo) -> bytes:
        """Return `{"id": n, "data": row}`, with chunks in base64."""
        data = self.data if stream.kind == "rows" else orjson.dumps(b64encode(self.data).decode())
        return b'{"id":%d,"data":%s}' % (self.number, data)


def parse_stream_info(stream_id: str, metadata: Mapping[str, str]) -> StreamInfo:
    """Return the record in the metadata of a JetStream stream.

    Raises:
        WireError: malformed.
    """
    try:
        kind = metadata["bp-kind"]
        if kind not in ("rows", "bytes"):
            raise WireError("The kind of a stream is rows or bytes")
        return StreamInfo(
            id=parse_body_id(stream_id),
            owner=parse_owner(metadata["bp-owner"]),
            kind="rows" if kind == "rows" else "bytes",
            media_type=metadata["bp-media_type"],
            buffer_size=_number(metadata["bp-buffer_size"], MAX_BUFFER),
            end_signal=metadata["bp-end_signal"],
            expires=_number(metadata["bp-expires"], LAST_SECOND),
        )
    except (KeyError, ValueError) as error:
        raise WireError("Malformed metadata of a stream", reason=repr(error)) from error


def expiry_of(metadata: Mapping[str, str]) -> int:
    """Return when a stream expires, in unix seconds.

    Raises:
        WireError: malformed.
    """
    try:
        return _number(metadata["bp-expires"], LAST_SECOND)
    except (KeyError, ValueError) as error:
        raise WireError("Malformed metadata of a stream", reason=repr(error)) from error


def _number(text: str, highest: int) -> int:
    number = int(text) if len(text) <= _MAX_DIGITS else highest + 1
    if not 0 <= number <= highest:
        raise ValueError(f"{text[:_MAX_DIGITS]} is not between 0 and {highest}")
    return number


def pack_items(stream: StreamInfo, items: list[StreamItem]) -> bytes:
    """Return the answer over NATS to a request with `after`."""
    fields = [(item.number, item.data, item.end) for item in items]
    packed: bytes = msgpack.packb({"kind": stream.kind, "items": fields})
    return packed


def parse_items(raw: bytes) -> tuple[str, list[StreamItem]]:
    """Return (kind, items) of an answer.

    Raises:
        WireError: malformed. BrokerPlaneError: the error in the answer.
    """
    try:
        fields: dict[str, Any] = msgpack.unpackb(raw)
        if "error" in fields:
            raise error_of_fields(fields["error"])
        return str(fields["kind"]), [StreamItem(*item) for item in fields["items"]]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise WireError("Malformed answer to a request for stream items", reason=repr(error)) from error
