"""What is remembered of an upload that is under way: how it was begun. How far it is, its chunks say themselves."""

from __future__ import annotations

from typing import Any

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker_plane.errors import WireError
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId

_FORMAT = 7


class UploadRecord(BaseModel):
    """One upload. `created` in unix seconds, `length` in bytes (None: not said yet), `digest` SHA-256 in hex.

    Every chunk but the last has `chunk_bytes`, however the requests cut what they bring.
    """

    model_config = ConfigDict(frozen=True)

    created: float
    chunk_bytes: int = Field(ge=1)
    length: int | None = Field(None, ge=0)
    media_type: str
    name: str = ""
    digest: str = Field("", pattern=r"^([0-9a-f]{64})?$")

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb([_FORMAT, self.model_dump()])
        return packed


def unpack_record(raw: bytes) -> UploadRecord:
    """The record of an entry.

    Raises:
        WireError: it is none that this version knows.
    """
    try:
        number, fields = msgpack.unpackb(raw)
        if number == _FORMAT:
            return UploadRecord.model_validate(fields)
    except (ValueError, TypeError, msgpack.UnpackException, ValidationError) as error:
        raise WireError("What is remembered of this upload cannot be read", reason=repr(error)) from error
    raise WireError("This upload was begun by a later version of broker-plane")


def upload_key(body_id: BodyId) -> str:
    """The key of the record in `bp_grants`; no grant has such an id."""
    return f"upload_{body_id}"


def uploaded(body: BodyInfo) -> dict[str, Any]:
    """What whoever completes an upload is told of the body."""
    return {
        "body_id": body.id,
        "size": body.size,
        "digest": f"sha256:{body.digest}",
        "media_type": body.media_type,
        "name": body.name,
        "expires": body.expires,
    }
