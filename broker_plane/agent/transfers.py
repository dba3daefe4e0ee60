"""The client's side of the transfer extension: what it declares, and how it confirms or refuses a transfer.

`Client(server, extensions=[transfers(capabilities)])` takes typed results and `_meta`; on the 2025 protocol claims
cannot be made, and the SDK then leaves the whole declaration out, so an older server needs `advertised(capabilities)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from mcp import Client
from mcp.client import ClientExtension, ResultClaim, advertise
from mcp.client.extension import ClaimContext
from mcp.types import CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict, Field

from broker_plane.errors import WireError
from broker_plane.wire.capabilities import RESULT_TYPE, Capabilities
from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from broker_plane.wire.names import EXTENSION

Resolve = Callable[[Descriptor], Awaitable[CallToolResult | None]]
"""What a host does with a descriptor at once; None leaves the result as it came."""

Reason = Literal["unsupported_protocol", "unreachable", "auth_failed", "sandbox_error"]


class DescriptorResult(Result):
    """A result of the claimed type."""

    model_config = ConfigDict(populate_by_name=True)

    result_type: Literal["transfer_descriptor"] = Field(default=RESULT_TYPE, alias="resultType")
    descriptor: dict[str, Any]
    content: list[Any] = Field(default_factory=list)
    structured_content: Any = Field(None, alias="structuredContent")


class TransferParams(RequestParams):
    """Members of a request of the extension, as they are named there."""

    model_config = ConfigDict(alias_generator=None, extra="allow")


class TransferRequest(Request[TransferParams, str]):
    """A request of the extension."""


class ConfirmResult(Result):
    """How the server settled the transfer: confirmed, released or settled."""

    status: str


class TransferClient(ClientExtension):
    """Declares `capabilities`, with a claim on the typed result."""

    identifier = EXTENSION

    def __init__(self, capabilities: Capabilities, resolve: Resolve | None = None) -> None:
        self._capabilities = capabilities.model_copy(update={"claims": (RESULT_TYPE,)})
        self._resolve = resolve

    def settings(self) -> dict[str, Any]:
        return self._capabilities.to_wire()

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type=RESULT_TYPE, model=DescriptorResult, resolve=self._resolved)]

    async def _resolved(self, result: DescriptorResult, ctx: ClaimContext) -> CallToolResult:
        if self._resolve is not None:
            done = await self._resolve(parse_descriptor(result.descriptor))
            if done is not None:
                return done
        fields = {"content": result.content, "structuredContent": result.structured_content}
        return CallToolResult.model_validate({**fields, "_meta": {EXTENSION: result.descriptor}})


def transfers(capabilities: Capabilities, resolve: Resolve | None = None) -> ClientExtension:
    """An extension for `Client(extensions=[…])`; `resolve` carries out a typed result's descriptor at once."""
    return TransferClient(capabilities, resolve)


def advertised(capabilities: Capabilities) -> ClientExtension:
    """The same declaration without a claim, which clients of both protocols can make."""
    return advertise(EXTENSION, capabilities.model_copy(update={"claims": ()}).to_wire())


def descriptor_of(result: CallToolResult) -> Descriptor | None:
    """The descriptor of a tool's result, from `_meta` or from its link; None where there is none."""
    metas = [result.meta, *(block.meta for block in result.content)]
    fields = next((meta[EXTENSION] for meta in metas if meta and EXTENSION in meta), None)
    return None if fields is None else parse_descriptor(fields)


def alternatives_of(descriptor: Descriptor) -> list[Descriptor]:
    """The other ways of the same body, best first.

    Raises:
        WireError: one of them is no descriptor.
    """
    others = (descriptor.model_extra or {}).get("alternatives", [])
    if not isinstance(others, list):
        raise WireError("alternatives is a list of descriptors")
    return [parse_descriptor(fields) for fields in others]


async def confirm(
    client: Client, descriptor: Descriptor, status: Literal["success", "failure"] = "success", **report: Any
) -> str:
    """Say how a transfer ended; `report` has `bytes_received`, `records_received`, `checksum`, `error`, `lease`.

    The answer is confirmed (it counts), released (it does not, and its use is back) or settled (it was over before).
    """
    fields = {"transfer_id": descriptor.transfer_id, "status": status, **report}
    request = TransferRequest(method="transfer/confirm", params=TransferParams.model_validate(fields))
    return (await client.session.send_request(request, ConfirmResult)).status


async def unable(
    client: Client, descriptor: Descriptor, reason: Reason = "unsupported_protocol", detail: str = ""
) -> CallToolResult:
    """Say that a transfer cannot be carried out; with the fallback `inline` the answer is the body itself.

    Raises:
        MCPError: the body does not go inline, or nothing was offered under this id.
    """
    fields = {"transfer_id": descriptor.transfer_id, "reason": reason, "detail": detail}
    request = TransferRequest(method="transfer/unable", params=TransferParams.model_validate(fields))
    return await client.session.send_request(request, CallToolResult)
