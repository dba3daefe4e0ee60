"""Plane's transfers: uploads, and whatever a descriptor says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from broker_plane.client.addresses import parse_networks
from broker_plane.client.upload import Uploaded, Uploader
from broker_plane.plane.bodies.publish import Progress
from broker_plane.runtime import arguments
from broker_plane.runtime.live import followed
from broker_plane.runtime.parts import Parts
from broker_plane.runtime.uploading import UploadGrant, UploadTerms, mint_upload
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach


class Transferring(Parts):
    """What is sent in, and what is fetched from elsewhere."""

    async def upload_grant(
        self,
        *,
        ttl: int | None = None,
        uses: int | None = None,
        within: float | None = None,
        bytes: int | None = None,
        formats: Sequence[str] | None = None,
        digest: str = "",
        audience: str = "",
    ) -> UploadGrant:
        """A URL to which somebody may upload one body of this owner (docs/uploads.md).

        The body lives until `ttl` seconds from now, and whoever completes the upload gets a grant of so many `uses`
        for it. It must be complete `within` so many seconds; it may have so many `bytes` at most, one of the media
        types `formats`, this SHA-256 (`digest`), and be uploaded by the one named `audience`.

        Raises:
            SelectorError: the terms cannot be sealed.
        """
        terms = UploadTerms(
            ttl=self.settings.ttl_seconds if ttl is None else arguments.whole_seconds(ttl),
            uses=arguments.uses(self.settings.grant_uses if uses is None else uses),
            within=None if within is None else arguments.seconds(within, "within"),
            bytes=bytes,
            formats=arguments.names(formats, "formats"),
            digest=digest,
            audience=audience,
        )
        return await mint_upload(self._reading, terms, self.bridge_url)

    async def upload(
        self,
        url: str,
        source: Path | bytes,
        *,
        name: str = "",
        media_type: str = "",
        progress: Progress | None = None,
    ) -> Uploaded:
        """Upload a file or bytes to `url` (`UploadGrant.upload_url`); it is a body on return.

        What breaks off goes on where the bridge has it, also by a later call.

        Raises:
            UntrustedHostError, GrantError, UploadError, TooLargeError, TransferInterruptedError.
        """
        name = name or (source.name if isinstance(source, Path) else "")
        return await self._uploader.upload(url, source, name=name, media_type=media_type, progress=progress)

    @cached_property
    def transfers(self) -> Transfers:
        """Fetching and pushing by descriptor (SEP-2433), within what the settings allow (docs/handlers.md)."""
        reach = Reach(
            trust=self._http.trust,
            networks=parse_networks(self.settings.transfer_networks, "BROKER_PLANE_TRANSFER_NETWORKS"),
            directories=[Path(text) for text in self.settings.transfer_directories.split(os.pathsep) if text],
        )
        return Transfers(
            reach,
            max_bytes=self.settings.max_body_bytes,
            unsized_bytes=self.settings.max_unsized_bytes,
            memory_bytes=self.settings.max_pull_memory_bytes,
            nats=self._nats,
            uploads=self._uploader,
            follow=lambda subject, after: followed(self._nats, subject, after),
        )

    @cached_property
    def _uploader(self) -> Uploader:
        return Uploader(
            self._http.trust,
            timeout=self.settings.pull_timeout_seconds,
            token=self.settings.token.get_secret_value(),
        )
