"""`plane.uploads`: grants for uploads, and the upload rules of one process over their ports."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from broker_plane.config import Settings
from broker_plane.errors import SelectorError, UploadNotFoundError
from broker_plane.plane.uploads.uploads import Uploads
from broker_plane.runtime import arguments
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.uploads import NatsPartialUploads
from broker_plane.wire.caveats import Audience, Bytes, Caveat, Digest, Expires, Formats
from broker_plane.wire.grant import narrow, peek, transfer_id_of
from broker_plane.wire.names import BodyId, body_id
from broker_plane.wire.urls import upload_url


def upload_service(wiring: Wiring, settings: Settings) -> Uploads:
    """Return the uploads of every owner, for a bridge."""
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
    """Permission to upload what becomes the body `body_id`. `upload_url` accepts PUT and resumable uploads."""

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
    """What may be uploaded: see `UploadGrants.grant`."""

    ttl: int
    uses: int
    complete_within: float | None = None
    max_bytes: int | None = None
    formats: Sequence[str] | None = None
    digest: str = ""
    audience: str = ""

    def caveats(self, now: float) -> list[Caveat]:
        found: list[Caveat | None] = [
            None if self.complete_within is None else Expires(ceil(now + self.complete_within)),
            None if self.max_bytes is None else Bytes(self.max_bytes),
            None if self.formats is None else Formats(tuple(name.lower() for name in self.formats)),
            Digest(_hex(self.digest)) if self.digest else None,
            Audience(self.audience) if self.audience else None,
        ]
        return [caveat for caveat in found if caveat is not None]


class UploadGrants:
    """Makes grants for uploads. Needs the role `plane`."""

    def __init__(self, wiring: Wiring, settings: Settings, bridge_url: str) -> None:
        self._wiring = wiring
        self._settings = settings
        self._bridge_url = bridge_url

    async def grant(
        self,
        *,
        ttl: arguments.Lifetime | None = None,
        uses: arguments.Uses | None = None,
        complete_within: arguments.Lifetime | None = None,
        max_bytes: int | None = None,
        formats: Sequence[str] | None = None,
        digest: str = "",
        audience: str = "",
    ) -> UploadGrant:
        """Return a URL to which one body of this owner may be uploaded (docs/uploads.md).

        The body expires `ttl` seconds from now, and the client that completes the upload gets a grant of `uses` for
        it. The upload must be complete within `complete_within` seconds. The body may have up to `max_bytes` bytes and
        one of the media types `formats`; it must have this SHA-256 (`digest`) and come from the client named
        `audience`.

        Raises:
            SelectorError: the terms cannot be sealed.
        """
        terms = UploadTerms(
            ttl=self._settings.ttl_seconds if ttl is None else arguments.whole_seconds(ttl),
            uses=arguments.uses_or(uses, self._settings.grant_uses),
            complete_within=None if complete_within is None else arguments.seconds(complete_within, "complete_within"),
            max_bytes=max_bytes,
            formats=arguments.names(formats, "formats"),
            digest=digest,
            audience=audience,
        )
        return await mint_upload(self._wiring, terms, self._bridge_url)


async def mint_upload(wiring: Wiring, terms: UploadTerms, bridge_url: str) -> UploadGrant:
    """Return a new grant for one upload."""
    made = body_id(secrets.token_bytes(16))
    root = await wiring.grants.minting.mint_upload(made, ttl=terms.ttl, uses=terms.uses)
    grant = narrow(root, *terms.caveats(wiring.now()))
    return UploadGrant(upload_url(bridge_url, grant), grant, made)


async def uploaded_grant(wiring: Wiring, settings: Settings, text: str) -> str:
    """Return the grant for the body that the upload of `text` became; idempotent.

    Raises:
        UploadNotFoundError: the upload is not complete. GrantError: as `Uploads.open`.
    """
    uploads = upload_service(wiring, settings)
    upload = await uploads.open(text)
    if upload.body is None:
        raise UploadNotFoundError("Nothing is uploaded here yet, or not all of it; complete the upload first")
    return await uploads.grant(text, upload.body)


def _hex(digest: str) -> str:
    text = digest.strip().lower().removeprefix("sha256:")
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise SelectorError("digest is sha256: and 64 characters of hex")
    return text
