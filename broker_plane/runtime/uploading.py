"""Uploads of one process: the rules over their ports, and grants for them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from broker_plane.config import Settings
from broker_plane.errors import SelectorError, UploadNotFoundError
from broker_plane.plane.uploads.uploads import Uploads
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.uploads import NatsPartialUploads
from broker_plane.wire.caveats import Audience, Bytes, Caveat, Digest, Expires, Formats
from broker_plane.wire.grant import narrow, peek, transfer_id_of
from broker_plane.wire.names import BodyId, body_id
from broker_plane.wire.urls import upload_url


def uploading(wiring: Wiring, settings: Settings) -> Uploads:
    """The uploads of every owner, for a bridge."""
    return Uploads(
        wiring.grants,
        wiring.store,
        NatsPartialUploads(wiring.connection),
        wiring.states,
        now=wiring.now,
        max_bytes=settings.max_body_bytes,
    )


@dataclass(frozen=True, slots=True)
class UploadGrant:
    """Permission to upload what becomes the body `body_id`. `upload_url` takes PUT, and resumable uploads."""

    upload_url: str
    grant: str
    body_id: BodyId

    @property
    def transfer_id(self) -> str:
        """The grant's id as a UUID (SEP-2433)."""
        return transfer_id_of(self.grant)

    @property
    def expires(self) -> int:
        """When the upload must be complete, in unix seconds."""
        return peek(self.grant).expires


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTerms:
    """What may be uploaded; the meaning stands at `Plane.upload_grant`."""

    ttl: int
    uses: int
    within: float | None = None
    bytes: int | None = None
    formats: Sequence[str] | None = None
    digest: str = ""
    audience: str = ""

    def caveats(self, now: float) -> list[Caveat]:
        found: list[Caveat | None] = [
            None if self.within is None else Expires(ceil(now + self.within)),
            None if self.bytes is None else Bytes(self.bytes),
            None if self.formats is None else Formats(tuple(name.lower() for name in self.formats)),
            Digest(_hex(self.digest)) if self.digest else None,
            Audience(self.audience) if self.audience else None,
        ]
        return [caveat for caveat in found if caveat is not None]


async def mint_upload(wiring: Wiring, terms: UploadTerms, bridge_url: str) -> UploadGrant:
    """A new grant for one upload."""
    made = body_id(secrets.token_bytes(16))
    root = await wiring.grants.minting.mint_upload(made, ttl=terms.ttl, uses=terms.uses)
    grant = narrow(root, *terms.caveats(wiring.now()))
    return UploadGrant(upload_url(bridge_url, grant), grant, made)


async def uploaded_grant(wiring: Wiring, settings: Settings, text: str) -> str:
    """The grant for the body that the upload of `text` became: the same one whenever it is asked for.

    Raises:
        UploadNotFoundError: it became none yet. Else as `Uploads.open`.
    """
    uploads = uploading(wiring, settings)
    upload = await uploads.open(text)
    if upload.body is None:
        raise UploadNotFoundError("Nothing is uploaded here yet, or not all of it; complete the upload first")
    return await uploads.grant(text, upload.body)


def _hex(digest: str) -> str:
    text = digest.strip().lower().removeprefix("sha256:")
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise SelectorError("digest is sha256: and 64 characters of hex")
    return text
