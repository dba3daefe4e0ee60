"""The record of an upload under way: how it began. Its offset is not recorded but derived from its chunks."""

from __future__ import annotations

from typing import Annotated, Any

import msgpack
import msgspec
from msgspec import Meta

from broker_plane.errors import WireError
from broker_plane.wire.body import BodyInfo, ChunkBytes, Count, Digest, Second
from broker_plane.wire.bounds import MAX_MEDIA_TYPE, MAX_NAME
from broker_plane.wire.entry_formats import UPLOAD
from broker_plane.wire.names import BodyId

METHODS = ("OPTIONS", "HEAD", "POST", "PUT", "PATCH", "DELETE")
"""What an upload's URL accepts, in the order of Allow."""


class UploadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One upload. `created` in unix seconds, `length` in bytes (None: not known yet), `digest` SHA-256 in hex.

    Every chunk but the last has `chunk_bytes`, whatever the sizes of the requests.
    """

    created: Second
    chunk_bytes: ChunkBytes
    length: Count | None = None
    media_type: Annotated[str, Meta(max_length=MAX_MEDIA_TYPE)]
    name: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    digest: Digest = ""
    digest512: Annotated[str, Meta(pattern=r"^([0-9a-f]{128})?\Z")] = ""

    def pack(self) -> bytes:
        fields = msgspec.to_builtins(self)
        if not self.digest512:  # the value before this field existed
            del fields["digest512"]
        packed: bytes = msgpack.packb([UPLOAD, fields])
        return packed


def unpack_record(raw: bytes) -> UploadRecord:
    """The record of an entry.

    Raises:
        WireError: this version does not know such an entry.
    """
    try:
        number, fields = msgpack.unpackb(raw)
        if number == UPLOAD:
            return msgspec.convert(fields, UploadRecord)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise WireError("The record of this upload cannot be read", reason=repr(error)) from error
    raise WireError("This upload was begun by a later version of broker-plane")


def upload_key(body_id: BodyId) -> str:
    """The key of the record in `bp_grants`; no grant has such an id."""
    return f"upload_{body_id}"


def uploaded(body: BodyInfo) -> dict[str, Any]:
    """What a completed upload answers about the body."""
    return {
        "body_id": body.id,
        "size": body.size,
        "digest": f"sha256:{body.digest}",
        "media_type": body.media_type,
        "name": body.name,
        "expires": body.expires,
    }
