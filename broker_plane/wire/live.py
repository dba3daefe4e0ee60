"""Live streams on the wire: a sequence of rows or chunks of bytes that one reader takes while it is made. Pure.

Items stand in a JetStream stream of their own, numbered from 1 without gaps. A reader says how far it has taken them;
what is taken is freed, and more than `buffer_size` that are not taken there never are.
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
from broker_plane.wire.presigned import error_of_fields

END_HEADER = "Bp-End"
END_SIGNAL = "[DONE]"
MOST_ITEM_BYTES = 512 * 1024
MOST_BUFFER = 10_000
_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One stream. `buffer_size` is in items, `expires` in unix seconds; rows travel as JSON objects."""

    id: BodyId
    owner: str
    kind: Literal["rows", "bytes"]
    media_type: str
    buffer_size: int
    end_signal: str
    expires: int

    def to_metadata(self) -> dict[str, str]:
        """What a JetStream stream keeps of it: texts only."""
        names = ("owner", "kind", "media_type", "buffer_size", "end_signal", "expires")
        return {f"bp-{name}": str(getattr(self, name)) for name in names}


@dataclass(frozen=True, slots=True)
class Item:
    """`data` is a row as JSON, or a chunk; the last item is the end and has none."""

    number: int
    data: bytes
    end: bool = False

    def to_json(self, live: Live) -> bytes:
        """For readers of text: `{"id": n, "data": row}`, and chunks in base64."""
        data = self.data if live.kind == "rows" else orjson.dumps(b64encode(self.data).decode())
        return b'{"id":%d,"data":%s}' % (self.number, data)


def parse_live(stream_id: str, metadata: Mapping[str, str]) -> Live:
    """The stream of its metadata.

    Raises:
        WireError: they are none.
    """
    try:
        kind = metadata["bp-kind"]
        if kind not in ("rows", "bytes"):
            raise WireError("A live stream is of rows or of bytes")
        return Live(
            id=parse_body_id(stream_id),
            owner=parse_owner(metadata["bp-owner"]),
            kind="rows" if kind == "rows" else "bytes",
            media_type=metadata["bp-media_type"],
            buffer_size=_number(metadata["bp-buffer_size"], MOST_BUFFER),
            end_signal=metadata["bp-end_signal"],
            expires=_number(metadata["bp-expires"], LAST_SECOND),
        )
    except (KeyError, ValueError) as error:
        raise WireError("There is a stream of ours that is no live stream", reason=repr(error)) from error


def expiry_of(metadata: Mapping[str, str]) -> int:
    """When a stream of ours expires, by its metadata.

    Raises:
        WireError: it is no time.
    """
    try:
        return _number(metadata["bp-expires"], LAST_SECOND)
    except (KeyError, ValueError) as error:
        raise WireError("There is a stream of ours that is no live stream", reason=repr(error)) from error


def _number(text: str, most: int) -> int:
    number = int(text) if len(text) <= _DIGITS else most + 1
    if not 0 <= number <= most:
        raise ValueError(f"{text[:_DIGITS]} is not within 0 and {most}")
    return number


def pack_items(live: Live, items: list[Item]) -> bytes:
    """The answer over NATS to a request with `after`."""
    told = [(item.number, item.data, item.end) for item in items]
    packed: bytes = msgpack.packb({"kind": live.kind, "items": told})
    return packed


def parse_items(raw: bytes) -> tuple[str, list[Item]]:
    """(kind, items) of an answer; an error in it is raised as what it was.

    Raises:
        WireError: it is none.
    """
    try:
        fields: dict[str, Any] = msgpack.unpackb(raw)
        if "error" in fields:
            raise error_of_fields(fields["error"])
        return str(fields["kind"]), [Item(*told) for told in fields["items"]]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise WireError("The answer is no window of a live stream", reason=repr(error)) from error
