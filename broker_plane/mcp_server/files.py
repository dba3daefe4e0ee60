"""The file requests of SEP-2631: `files/authorizeDownload` and `files/authorizeUpload`.

A download describes a grant that the client holds as FileValue and FileTransferDescriptor; uploads go to the plane, or
to another `UploadPort`. A file's URI, `plane://file/<grant>`, names one immutable sequence of bytes; it is not the URI
of a resource.
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

from broker_plane.errors import BrokerPlaneError, NotSupportedYetError
from broker_plane.mcp_server.tool_errors import protocol_error
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.wire.body import BYTES_TYPE
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.files import file_transfer, file_value, sha256_of
from broker_plane.wire.names import RESOURCE_SCHEME


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOrder:
    """A requested upload: `size` in bytes and `sha256` in hex if the client knows them, else None and empty."""

    name: str = ""
    media_type: str = BYTES_TYPE
    size: int | None = None
    sha256: str = ""


class UploadPort(Protocol):
    """Accepts uploads on behalf of this server."""

    async def authorize(self, order: UploadOrder) -> Descriptor:
        """A descriptor of mode `push` for one upload of this size, type and digest, over https or http.

        Its `transfer_id` is the id of the upload grant, and `expires` the time until which the upload may begin.

        Raises:
            BrokerPlaneError: this upload is not allowed.
        """


class PlaneUploads:
    """Uploads to the plane (docs/uploads.md): each becomes a body, to which its FileValue leads."""

    def __init__(self, holder: PlaneHolder) -> None:
        self._holder = holder

    async def authorize(self, order: UploadOrder) -> Descriptor:
        from broker_plane.runtime.offering import over_http, push_offer_of, terms_of  # deferred with the plane

        plane = await self._holder.plane()
        kind = order.media_type.partition(";")[0].strip()
        grant = await plane.uploads.grant(max_bytes=order.size, digest=order.sha256, formats=[kind])
        offer = push_offer_of(
            grant, terms_of(plane.settings), media_type=order.media_type, size=order.size, sha256=order.sha256
        )
        return over_http(offer)


class DownloadParams(RequestParams):
    """`uri` is the URI of a file or a body (`plane://body/…`), or a `resource_url`."""

    model_config = ConfigDict(defer_build=True)

    uri: str = Field(max_length=4096)


class UploadParams(RequestParams):
    """The members of SEP-2631 that describe a file before its upload."""

    model_config = ConfigDict(defer_build=True)

    name: str | None = Field(None, max_length=1024)
    mime_type: str | None = Field(None, alias="mimeType", max_length=255)
    size: int | None = Field(None, ge=0)
    digest: dict[str, Any] | None = None


class FileResult(Result):
    """`file`, and how to transfer it: `download` or `upload`."""

    model_config = ConfigDict(extra="allow", defer_build=True)
    file: dict[str, Any]
    result_type: Literal["complete"] = Field(default="complete", alias="resultType")


class Files:
    """Serves both requests."""

    def __init__(self, holder: PlaneHolder, uploads: UploadPort | None) -> None:
        self._holder = holder
        self._uploads = uploads

    def settings(self) -> dict[str, Any]:
        """The capability that SEP-2631 defines."""
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
            plane = await self._holder.plane()
            published = await plane.grants.describe(grant)
            descriptor = published.descriptor()
            file = file_value(descriptor, f"{RESOURCE_SCHEME}://file/{grant}", published.body.name)
            return FileResult.model_validate({"file": file, "download": file_transfer(descriptor)})
        except BrokerPlaneError as error:
            raise protocol_error(error) from error

    async def _upload(self, ctx: ServerRequestContext[Any, Any], params: UploadParams) -> FileResult:
        try:
            if self._uploads is None:
                raise NotSupportedYetError("This server does not accept uploads")
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
            raise protocol_error(error) from error


def _file_id(descriptor: Descriptor) -> str:
    """The upload's grant, with which its body is requested later; the transfer id if another service stores it."""
    from broker_plane.wire.grant import is_grant

    last = urlsplit(descriptor.endpoint).path.rpartition("/")[2]
    return last if is_grant(last) else descriptor.transfer_id
