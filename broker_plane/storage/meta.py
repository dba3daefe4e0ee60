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
_METAS = 256
"""Meta messages that are not parsed again; each pull reads its body's, and one that is the same says the same."""

_REMEMBERED_BYTES = 1 << 14
"""Of a meta message that is remembered: its owner may make it as large as a message can be."""


class _Metadata(msgspec.Struct):
    packed: str = msgspec.field(name=_METADATA)


class _ObjectInfo(msgspec.Struct):
    """What is read of an object info. All else in it is skipped, and makes no object."""

    metadata: _Metadata


class _Chunked(msgspec.Struct):
    nuid: str


_OBJECT_INFO, _NUID = msgspec.json.Decoder(_ObjectInfo), msgspec.json.Decoder(_Chunked)


def write_meta(body: BodyInfo, bucket: str) -> bytes:
    """ADR-20 object info; what it has no member for stands in `metadata` as text.

    Raises:
        TooLargeError: a name that no reader takes.
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
    """The body info in a meta message of the bucket of `owner`, who may write there what it likes.

    One that says that it is another owner's body is none: its bytes would be read out of that one's bucket.

    Raises:
        BodyNotFoundError: it is no body of ours.
        EncodingError: it is one that cannot be read.
    """
    return _remembered(raw, owner) if len(raw) <= _REMEMBERED_BYTES else _read(raw, owner)


def chunked_of(raw: bytes) -> BodyId | None:
    """The id under which an object's chunks stand, whatever program wrote it; None for what is no object info."""
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
        raise BodyNotFoundError("There is an object of this name, and it is no body of broker-plane") from error
    except WireError as error:
        raise EncodingError(f"{error}. Publish the body again", reason=error.reason) from error
    if body.owner != owner:
        raise BodyNotFoundError("There is an object of this name, and it says that it is another owner's")
    return body


_remembered = lru_cache(_METAS)(_read)
