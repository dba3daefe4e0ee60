"""The server side of the transfer extension (SEP-2433, and the files of SEP-2631).

`transfer/confirm` and `transfer/unable` are requests, because the SDK never dispatches notifications over HTTP. A
result has the type `transfer_descriptor` only for a client that claims that type in the same request; for any other
client it is an ordinary result with the descriptor in `_meta`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.types import CallToolRequestParams, CallToolResult, RequestParams, ResourceLink, Result
from pydantic import ConfigDict, Field

from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, LeaseLostError
from broker_plane.mcp_server.capabilities import capabilities_of
from broker_plane.mcp_server.descriptor_offers import DescriptorOffers
from broker_plane.mcp_server.files import Files, UploadPort
from broker_plane.mcp_server.inline import InlineResult, inline
from broker_plane.mcp_server.offers import OfferRegistry
from broker_plane.mcp_server.tool_errors import protocol_error
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.wire.capabilities import RESULT_TYPE
from broker_plane.wire.descriptor import TOMCP, V1, parse_descriptor
from broker_plane.wire.extension import (
    CONFIRM,
    UNABLE,
    ConfirmedFields,
    ConfirmFields,
    DescriptorFields,
    TransferFields,
    UnableFields,
)
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME
from broker_plane.wire.offers import Offer, negotiate

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane


class ConfirmParams(ConfirmFields, RequestParams):
    """The parameters of `transfer/confirm`."""

    model_config = ConfigDict(defer_build=True)


class UnableParams(UnableFields, RequestParams):
    """The parameters of `transfer/unable`."""

    model_config = ConfigDict(defer_build=True)


class ConfirmResult(ConfirmedFields, Result):
    """The result of `transfer/confirm`."""

    model_config = ConfigDict(defer_build=True)

    result_type: Literal["complete"] = Field(default="complete", alias="resultType")


class DescriptorResult(DescriptorFields, Result):
    """A tool's result for clients that claim the type."""

    model_config = ConfigDict(populate_by_name=True, defer_build=True)


class TransferExtension(Extension):
    """Serves the requests, and returns typed results to clients that claim them."""

    identifier = EXTENSION

    def __init__(
        self,
        holder: PlaneHolder,
        offers: OfferRegistry,
        others: DescriptorOffers,
        settings: Settings,
        uploads: UploadPort | None = None,
    ) -> None:
        self._holder = holder
        self._offers = offers
        self._others = others
        self._limit = settings.max_inline_result_bytes
        # JSON escapes at most double a text, and a server-sent event has at most 1 MiB: a part of 7/8 of 512 KiB fits.
        self._part_bytes = settings.max_inline_result_bytes * 7 // 8
        self._max_body_bytes = settings.max_inline_body_bytes
        self._files = Files(holder, uploads)

    def settings(self) -> dict[str, Any]:
        """`threshold` is in bytes: a larger result is published and replaced by a descriptor."""
        return {
            "enabled": True,
            "threshold": self._limit,
            "schemas": [V1, TOMCP],
            "claims": [RESULT_TYPE],
            "files": self._files.settings(),
        }

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding(CONFIRM, ConfirmParams, self._confirm),
            MethodBinding(UNABLE, UnableParams, self._inline),
            *self._files.methods(),
        ]

    async def advertise(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware.

        Add the extension to `initialize` of the 2025 protocol, where the SDK leaves extensions out (SEP-2133).
        """
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
        if (settled := self._others.settle(params)) is not None:
            return ConfirmResult(status=settled)
        try:
            plane, grant = await self._offered(params)
            status = await plane.pulls.confirm(plane.url_of(grant), params.report())
        except LeaseLostError:
            return ConfirmResult(status="settled")
        except BrokerPlaneError as error:
            raise protocol_error(error) from error
        return ConfirmResult.model_validate({"status": status})

    async def _inline(self, ctx: ServerRequestContext[Any, Any], params: UnableParams) -> InlineResult:
        """The body itself, or a part of it. All parts are one delivery; a refusal spends no use."""
        cursor = params.cursor or ""
        try:
            plane, grant = await self._offered(params)
            page = await plane.pulls.page(
                plane.url_of(grant), cursor, limit=self._part_bytes, most=self._max_body_bytes
            )
        except BrokerPlaneError as error:
            raise protocol_error(error) from error
        uri = f"{RESOURCE_SCHEME}://body/{grant}"
        return inline(page, uri, self._limit, whole=not (cursor or page.next))

    async def _offered(self, params: TransferFields) -> tuple[Plane, str]:
        transfer_id = params.transfer_id.lower()
        grant = await self._others.grant(transfer_id)
        plane = await self._holder.plane()
        if grant is not None:
            return plane, grant
        return plane, await self._offers.find(plane, transfer_id, params.endpoint, params.seal)
