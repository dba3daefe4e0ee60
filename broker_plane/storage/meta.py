"""The meta of a body: an ADR-20 object info, with the body info in its metadata."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
import orjson

from broker_plane.errors import BodyNotFoundError, EncodingError, WireError
from broker_plane.wire.body import BodyInfo, check_name, check_stored, unpack_body_info
from broker_plane.wire.names import BodyId, encode_id

_METADATA = "broker-plane"
_CACHED = 256
"""Number of parsed meta messages that are cached: each pull reads the meta of its body."""

_CACHED_BYTES = 1 << 14
"""Largest meta message that is cached: its owner may make it as large as any message."""


class _Metadata(msgspec.Struct):
    packed: str = msgspec.field(name=_METADATA)


class _ObjectInfo(msgspec.Struct):
    """The part of an object info that is read; the decoder skips all else."""

    metadata: _Metadata


class _Chunked(msgspec.Struct):
    nuid: str


_OBJECT_INFO, _NUID = msgspec.json.Decoder(_ObjectInfo), msgspec.json.Decoder(_Chunked)


def write_meta(body: BodyInfo, bucket: str) -> bytes:
    """The ADR-20 object info of a body in `bucket`; what it has no member for is in `metadata` as text.

    Raises:
        TooLargeError: the name is longer than readers accept.
    """
    check_name(body.name, body.media_type)
    return orjson.dumps(
        {
            "name": body.id,
            "bucket": bucket,
            "nuid": body.id,
            "size": body.size,
            "chunks": body.chunks,
            "digest": "SHA-256=" + urlsafe_b64encode(bytes.fromhex(body.digest)).decode(),
            "mtime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "options": {"max_chunk_size": body.chunk_bytes},
            "headers": {"Content-Type": [body.media_type]},
            "metadata": {_METADATA: encode_id(body.pack())},
        }
    )


def read_meta(raw: bytes, owner: str) -> BodyInfo:
    """The body info in a meta message of the bucket of `owner`, who may write anything there.

    A meta that names another owner is refused: its bytes would be read from that owner's bucket.

    Raises:
        BodyNotFoundError: it is not a body of the plane.
        EncodingError: it is a body that cannot be read.
    """
    return _cached(raw, owner) if len(raw) <= _CACHED_BYTES else _read(raw, owner)


def chunked_of(raw: bytes) -> BodyId | None:
    """The id of an object's chunks, whichever program wrote it; None if this is not an object info."""
    try:
        return BodyId(_NUID.decode(raw).nuid)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _read(raw: bytes, owner: str) -> BodyInfo:
    try:
        packed = _OBJECT_INFO.decode(raw).metadata.packed
        body = unpack_body_info(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        check_stored(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BodyNotFoundError("The stored object of this name is not a body of broker-plane") from error
    except WireError as error:
        raise EncodingError(f"{error}. Publish the body again", reason=error.reason) from error
    if body.owner != owner:
        raise BodyNotFoundError("The stored object belongs to another owner")
    return body


_cached = lru_cache(_CACHED)(_read)
