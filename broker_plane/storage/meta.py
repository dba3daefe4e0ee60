"""The meta of a body: an ADR-20 object info, with the body info in its metadata."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from functools import lru_cache

import orjson

from broker_plane.errors import BodyNotFoundError
from broker_plane.wire.body import BodyInfo, unpack_body_info
from broker_plane.wire.names import encode_id, object_stream

_METADATA = "broker-plane"
_METAS = 256
"""Meta messages that are not parsed again; each pull reads its body's, and one that is the same says the same."""


def write_meta(body: BodyInfo) -> bytes:
    """ADR-20 object info; what it has no member for stands in `metadata` as text."""
    return orjson.dumps(
        {
            "name": body.id,
            "bucket": object_stream(body.owner).removeprefix("OBJ_"),
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


@lru_cache(_METAS)
def read_meta(raw: bytes, owner: str) -> BodyInfo:
    """The body info in a meta message of the bucket of `owner`, who may write there what it likes.

    One that says that it is another owner's body is none: its bytes would be read out of that one's bucket.
    """
    try:
        packed = orjson.loads(raw)["metadata"][_METADATA]
        body = unpack_body_info(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except (KeyError, TypeError, ValueError) as error:
        raise BodyNotFoundError("There is an object of this name, and it is no body of broker-plane") from error
    if body.owner != owner:
        raise BodyNotFoundError("There is an object of this name, and it says that it is another owner's")
    return body
