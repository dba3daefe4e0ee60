"""The requests and results of the MCP extension `io.broker-plane/transfer` (SEP-2433), for both sides. Pure.

These are the members alone: each side mixes them into the SDK's request and result classes.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from broker_plane.wire.capabilities import RESULT_TYPE

CONFIRM: Final = "transfer/confirm"
UNABLE: Final = "transfer/unable"

Outcome = Literal["success", "failure"]
Reason = Literal["unsupported_protocol", "unreachable", "auth_failed", "sandbox_error"]
Settlement = Literal["confirmed", "released", "settled"]
"""confirmed: the delivery counts; released: it does not, and its use is returned; settled: it had ended before."""


def _either(snake: str, camel: str) -> AliasChoices:
    """SEP-2433 writes snake_case, MCP camelCase; both are accepted."""
    return AliasChoices(snake, camel)


class TransferFields(BaseModel):
    """The members of both requests.

    `endpoint` and `seal` are those of the descriptor; a request with the transfer id alone is understood only by the
    process that made the offer.
    """

    model_config = ConfigDict(defer_build=True)

    transfer_id: str = Field(validation_alias=_either("transfer_id", "transferId"), max_length=64)
    endpoint: str = Field("", max_length=4096)
    seal: str = Field("", max_length=64)


class ConfirmFields(TransferFields):
    """The members of `transfer/confirm`.

    `lease` is the BP-Lease of the response that is meant, if there were several.
    """

    status: Outcome
    bytes_received: int | None = Field(None, ge=0, validation_alias=_either("bytes_received", "bytesReceived"))
    records_received: int | None = Field(None, ge=0, validation_alias=_either("records_received", "recordsReceived"))
    checksum: str | None = Field(None, max_length=200)
    error: str | None = None
    lease: str | None = Field(None, max_length=200)

    def report(self) -> dict[str, Any]:
        """The members that the bridge needs to settle the delivery."""
        names = ("status", "bytes_received", "records_received", "checksum", "lease")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class UnableFields(TransferFields):
    """The members of `transfer/unable`. Unknown reasons are accepted, because the answer is the same.

    `cursor` is the `nextCursor` of the previous part; without it the answer is the first part.
    """

    reason: Reason | str = "unsupported_protocol"
    detail: str | None = None
    cursor: str | None = Field(None, max_length=256)


class ConfirmedFields(BaseModel):
    """The result of `transfer/confirm`."""

    model_config = ConfigDict(defer_build=True)

    status: Settlement


class PartFields(BaseModel):
    """The addition of `transfer/unable` to a tool's result: the cursor of the next part, None after the last."""

    next_cursor: str | None = None


class DescriptorFields(BaseModel):
    """A tool's result of the claimed type: the descriptor, with the ordinary result beside it."""

    model_config = ConfigDict(populate_by_name=True, defer_build=True)

    result_type: Literal["transfer_descriptor"] = Field(default=RESULT_TYPE, alias="resultType")
    descriptor: dict[str, Any]
    content: list[Any] = Field(default_factory=list)
    structured_content: Any = Field(None, alias="structuredContent")
