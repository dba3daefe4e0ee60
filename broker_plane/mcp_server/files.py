"""SEP-2631's requests on the same bodies: `files/authorizeDownload` and `files/authorizeUpload`.

A download is a grant that somebody holds, as FileValue and FileTransferDescriptor; an upload is whatever serves the
`UploadPort`. A file's URI, `plane://file/<grant>`, names one immutable sequence of bytes and is no resource's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mcp.server.context import ServerRequestContext
from mcp.server.extension import MethodBinding
from mcp.shared.exceptions import MCPError
from mcp.types import RequestParams, Result
from pydantic import ConfigDict, Field

from broker_plane.errors import BrokerPlaneError, NotBuiltError
from broker_plane.mcp_server.hold import PlaneHold
from broker_plane.mcp_server.refusals import FAILED, refused
from broker_plane.wire.body import BYTES_TYPE
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.files import file_transfer, file_value, sha256_of
from broker_plane.wire.names import RESOURCE_SCHEME

_OVER_HTTP = ("https", "http")


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
        from broker_plane.wire.grant import grant_of  # with the plane, and not at the start of a server

        try:
            grant = grant_of(params.uri)
            plane = await self._hold.plane()
            published = await plane.found(grant)
            ways = [each for each in published.offer().descriptors if each.protocol in _OVER_HTTP]
            # Of rows the last is the view that needs no package of ours; an opaque body has one way.
            if not ways:
                raise MCPError(
                    FAILED, "The bridge is in plain text on a host that is not near", {"code": "not_offered"}
                )
            way = ways[-1]
            self._hold.handed.keep(way, published.resource_url, published.body)
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
            file = file_value(descriptor, f"{RESOURCE_SCHEME}://file/{descriptor.transfer_id}", order.name)
            return FileResult.model_validate({"file": file, "upload": file_transfer(descriptor)})
        except BrokerPlaneError as error:
            raise refused(error) from error
