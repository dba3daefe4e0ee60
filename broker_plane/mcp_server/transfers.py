"""The transfer extension (SEP-2433, and SEP-2631's files): what a client may ask about the bodies that it was offered.

`transfer/confirm` and `transfer/unable` are requests: what a client notifies over HTTP is never dispatched. A result is
of the type `transfer_descriptor` only for a client that claims that type on the very request; for every other it is an
ordinary result with the descriptor in `_meta`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.types import CallToolRequestParams, CallToolResult, RequestParams, ResourceLink, Result
from pydantic import AliasChoices, ConfigDict, Field

from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, LeaseLostError
from broker_plane.mcp_server import results
from broker_plane.mcp_server.capabilities import capabilities_of
from broker_plane.mcp_server.files import Files, UploadPort
from broker_plane.mcp_server.plane_holder import PlaneHold
from broker_plane.mcp_server.results import InlineResult
from broker_plane.mcp_server.tool_errors import refused
from broker_plane.wire.capabilities import RESULT_TYPE
from broker_plane.wire.descriptor import TOMCP, V1, parse_descriptor
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME
from broker_plane.wire.offers import Offer, negotiate

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane

_REASONS = Literal["unsupported_protocol", "unreachable", "auth_failed", "sandbox_error"]


def _either(snake: str, camel: str) -> AliasChoices:
    """SEP-2433 writes snake_case, MCP camelCase; both are read."""
    return AliasChoices(snake, camel)


class TransferParams(RequestParams):
    """What both requests name. `endpoint` and `seal` as the descriptor had them; without them the id alone is known
    where the offer was made.
    """

    model_config = ConfigDict(defer_build=True)

    transfer_id: str = Field(validation_alias=_either("transfer_id", "transferId"), max_length=64)
    endpoint: str = Field("", max_length=4096)
    seal: str = Field("", max_length=64)


class ConfirmParams(TransferParams):
    """Of `transfer/confirm`. `lease` is the BP-Lease of the answer that is meant, where there were several."""

    status: Literal["success", "failure"]
    bytes_received: int | None = Field(None, ge=0, validation_alias=_either("bytes_received", "bytesReceived"))
    records_received: int | None = Field(None, ge=0, validation_alias=_either("records_received", "recordsReceived"))
    checksum: str | None = Field(None, max_length=200)
    error: str | None = None
    lease: str | None = Field(None, max_length=200)

    def report(self) -> dict[str, Any]:
        names = ("status", "bytes_received", "records_received", "checksum", "lease")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class UnableParams(TransferParams):
    """Of `transfer/unable`. An unknown reason is as good as a known one: the answer is the same.

    `cursor` is the `nextCursor` of the part before; without one it is the first.
    """

    reason: _REASONS | str = "unsupported_protocol"
    detail: str | None = None
    cursor: str | None = Field(None, max_length=256)


class ConfirmResult(Result):
    """`confirmed`: the delivery counts; `released`: it does not, and its use is back; `settled`: it was over before."""

    model_config = ConfigDict(defer_build=True)

    status: Literal["confirmed", "released", "settled"]
    result_type: Literal["complete"] = Field(default="complete", alias="resultType")


class DescriptorResult(Result):
    """A tool's result that is a descriptor, for clients that claim the type; the abstract stands beside it."""

    model_config = ConfigDict(populate_by_name=True, defer_build=True)

    result_type: Literal["transfer_descriptor"] = Field(default=RESULT_TYPE, alias="resultType")
    descriptor: dict[str, Any]
    content: list[Any] = Field(default_factory=list)
    structured_content: Any = Field(None, alias="structuredContent")


class Transfers(Extension):
    """Serves the requests, and gives a claiming client the typed result."""

    identifier = EXTENSION

    def __init__(self, hold: PlaneHold, settings: Settings, uploads: UploadPort | None = None) -> None:
        self._hold = hold
        self._limit = settings.inline_limit
        # Text that stands in JSON is at most twice as long there, and an event has 1 MiB at most: at 512 KiB it fits.
        self._part = settings.inline_limit * 7 // 8
        self._most = settings.inline_most
        self._files = Files(hold, uploads)

    def settings(self) -> dict[str, Any]:
        """`threshold` is in bytes: above it a result is stored, and a descriptor takes its place."""
        return {
            "enabled": True,
            "threshold": self._limit,
            "schemas": [V1, TOMCP],
            "claims": [RESULT_TYPE],
            "files": self._files.settings(),
        }

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("transfer/confirm", ConfirmParams, self._confirm),
            MethodBinding("transfer/unable", UnableParams, self._inline),
            *self._files.methods(),
        ]

    async def advertise(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: `initialize` of the 2025 protocol leaves extensions out, where SEP-2133 wants them."""
        result = await call_next(ctx)
        if ctx.method != "initialize" or not isinstance(result, dict):
            return result
        capabilities = result.get("capabilities") or {}
        extensions = {**(capabilities.get("extensions") or {}), EXTENSION: self.settings()}
        return {**result, "capabilities": {**capabilities, "extensions": extensions}}

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        result = await call_next(ctx)
        if not isinstance(result, CallToolResult) or result.is_error or EXTENSION not in (result.meta or {}):
            return result
        capabilities = capabilities_of(ctx.session.client_capabilities)
        fields = (result.meta or {})[EXTENSION]
        if capabilities is None or RESULT_TYPE not in capabilities.claims:
            return result
        size = next((block.size for block in result.content if isinstance(block, ResourceLink)), None)
        if negotiate(Offer((parse_descriptor(fields),)), capabilities, size=size).descriptor is None:
            return result
        return DescriptorResult(
            descriptor=fields,
            content=[block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content],
            structured_content=result.structured_content,
            meta=result.meta,
        )

    async def _confirm(self, ctx: ServerRequestContext[Any, Any], params: ConfirmParams) -> ConfirmResult:
        try:
            plane, grant = await self._offered(params)
            word = await plane.pulls.confirm(plane.url_of(grant), params.report())
        except LeaseLostError:
            return ConfirmResult(status="settled")
        except BrokerPlaneError as error:
            raise refused(error) from error
        return ConfirmResult.model_validate({"status": word})

    async def _inline(self, ctx: ServerRequestContext[Any, Any], params: UnableParams) -> InlineResult:
        """The body itself, or a part of it, which is one delivery; nothing is used up where it cannot be given."""
        cursor = params.cursor or ""
        try:
            plane, grant = await self._offered(params)
            page = await plane.pulls.page(plane.url_of(grant), cursor, limit=self._part, most=self._most)
        except BrokerPlaneError as error:
            raise refused(error) from error
        uri = f"{RESOURCE_SCHEME}://body/{grant}"
        return results.inline(page, uri, self._limit, whole=not (cursor or page.next))

    async def _offered(self, params: TransferParams) -> tuple[Plane, str]:
        plane = await self._hold.plane()
        transfer_id = params.transfer_id.lower()
        return plane, await self._hold.handed.find(plane, transfer_id, params.endpoint, params.seal)
