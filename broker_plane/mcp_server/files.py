"""SEP-2631's requests on the same bodies: `files/authorizeDownload` and `files/authorizeUpload`.

A download is a grant that somebody holds, as FileValue and FileTransferDescriptor; an upload is the plane's, or
whatever serves the `UploadPort`. A file's URI, `plane://file/<grant>`, names one immutable sequence of bytes and is no
resource's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from mcp.server.context import ServerRequestContext
from mcp.server.extension import MethodBinding
from mcp.types import RequestParams, Result
from pydantic import ConfigDict, Field

from broker_plane.errors import BrokerPlaneError, NotBuiltError
from broker_plane.mcp_server.plane_holder import PlaneHold
from broker_plane.mcp_server.tool_errors import refused
from broker_plane.wire.body import BYTES_TYPE
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.files import file_transfer, file_value, sha256_of
from broker_plane.wire.names import RESOURCE_SCHEME


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOrder:
    """What is to be uploaded: `size` in bytes and `sha256` in hex where the client knows them, else None and empty."""

    name: str = ""
    media_type: str = BYTES_TYPE
    size: int | None = None
    sha256: str = ""


class UploadPort(Protocol):
    """Whoever takes uploads for this server."""

    async def authorize(self, order: UploadOrder) -> Descriptor:
        """A descriptor of mode `push` for one upload of this size, type and digest, over https or http.

        Its `transfer_id` is the upload grant's id, its `expires` the last moment at which the upload may begin.

        Raises:
            BrokerPlaneError: this upload is not allowed.
        """


class PlaneUploads:
    """The plane's own uploads (docs/uploads.md): what is uploaded is a body, and its FileValue leads to it."""

    def __init__(self, hold: PlaneHold) -> None:
        self._hold = hold

    async def authorize(self, order: UploadOrder) -> Descriptor:
        from broker_plane.runtime.offering import over_http, push_offer_of, terms_of  # with the plane, not at the start

        plane = await self._hold.plane()
        kind = order.media_type.partition(";")[0].strip()
        grant = await plane.uploads.grant(max_bytes=order.size, digest=order.sha256, formats=[kind])
        offer = push_offer_of(
            grant, terms_of(plane.settings), media_type=order.media_type, size=order.size, sha256=order.sha256
        )
        return over_http(offer)


class DownloadParams(RequestParams):
    """`uri` is a file's, a body's (`plane://body/…`) or a `resource_url`."""

    model_config = ConfigDict(defer_build=True)

    uri: str = Field(max_length=4096)


class UploadParams(RequestParams):
    """SEP-2631: what is known of a file before its first byte."""

    model_config = ConfigDict(defer_build=True)

    name: str | None = Field(None, max_length=1024)
    mime_type: str | None = Field(None, alias="mimeType", max_length=255)
    size: int | None = Field(None, ge=0)
    digest: dict[str, Any] | None = None


class FileResult(Result):
    """`file`, and how it travels: `download` or `upload`."""

    model_config = ConfigDict(extra="allow", defer_build=True)
    file: dict[str, Any]
    result_type: Literal["complete"] = Field(default="complete", alias="resultType")


class Files:
    """Both requests."""

    def __init__(self, hold: PlaneHold, uploads: UploadPort | None) -> None:
        self._hold = hold
        self._uploads = uploads

    def settings(self) -> dict[str, Any]:
        """SEP-2631's capability."""
        return {"download": True, "upload": self._uploads is not None, "transports": ["https"]}

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("files/authorizeDownload", DownloadParams, self._download),
            MethodBinding("files/authorizeUpload", UploadParams, self._upload),
        ]

    async def _download(self, ctx: ServerRequestContext[Any, Any], params: DownloadParams) -> FileResult:
        from broker_plane.wire.grant import grant_of

        try:
            grant = grant_of(params.uri)
            plane = await self._hold.plane()
            published = await plane.grants.describe(grant)
            way = published.descriptor()
            file = file_value(way, f"{RESOURCE_SCHEME}://file/{grant}", published.body.name)
            return FileResult.model_validate({"file": file, "download": file_transfer(way)})
        except BrokerPlaneError as error:
            raise refused(error) from error

    async def _upload(self, ctx: ServerRequestContext[Any, Any], params: UploadParams) -> FileResult:
        try:
            if self._uploads is None:
                raise NotBuiltError("This server takes no uploads")
            order = UploadOrder(
                name=params.name or "",
                media_type=params.mime_type or BYTES_TYPE,
                size=params.size,
                sha256=sha256_of(params.digest),
            )
            descriptor = await self._uploads.authorize(order)
            file = file_value(descriptor, f"{RESOURCE_SCHEME}://file/{_file_id(descriptor)}", order.name)
            return FileResult.model_validate({"file": file, "upload": file_transfer(descriptor, order.name)})
        except BrokerPlaneError as error:
            raise refused(error) from error


def _file_id(descriptor: Descriptor) -> str:
    """What is uploaded is asked for by its upload's grant; what somebody else takes has no grant."""
    from broker_plane.wire.grant import is_grant

    last = urlsplit(descriptor.endpoint).path.rpartition("/")[2]
    return last if is_grant(last) else descriptor.transfer_id
