"""The parameters, the result and the error codes of the Events extension (SEP-3415)."""

from __future__ import annotations

from typing import Any, Literal

from mcp.shared.exceptions import MCPError
from mcp.types import Notification, NotificationParams, RequestParams, Result
from pydantic import BaseModel, ConfigDict, Field

from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    NotPermittedError,
    UntrustedHostError,
    WebhookError,
    WireError,
)

EVENTS = "io.modelcontextprotocol/events"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"

NOT_FOUND = -32023
FORBIDDEN = -32024
RESOURCE_EXHAUSTED = -32025
UNSUPPORTED = -32026
CALLBACK_ENDPOINT = -32027
INVALID_PARAMS = -32602
INTERNAL = -32603
CODES = {
    "NotFound": NOT_FOUND,
    "Forbidden": FORBIDDEN,
    "ResourceExhausted": RESOURCE_EXHAUSTED,
    "Unsupported": UNSUPPORTED,
    "CallbackEndpointError": CALLBACK_ENDPOINT,
}
"""The extension's error codes, which are provisional."""


class ListParams(RequestParams):
    """The parameters of `events/list`."""

    model_config = ConfigDict(defer_build=True)

    cursor: str | None = None


class NamedParams(RequestParams):
    """The parameters that name an event."""

    model_config = ConfigDict(defer_build=True)

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class PollParams(NamedParams):
    """The parameters of `events/poll` and `events/stream`. Without a cursor they begin now."""

    cursor: str | None = None
    max_age_ms: int | None = Field(default=None, alias="maxAgeMs", ge=0)
    max_events: int | None = Field(default=None, alias="maxEvents", ge=1)


class Receiver(BaseModel):
    """A receiver of events."""

    model_config = ConfigDict(defer_build=True)

    url: str


class Webhook(Receiver):
    """A webhook; the secret signs its events (Standard Webhooks)."""

    mode: Literal["webhook"]
    secret: str


class SubscribeParams(PollParams):
    """The parameters of `events/subscribe`. Without `ttlMs` the server chooses the lifetime."""

    delivery: Webhook
    ttl_ms: int | None = Field(default=None, alias="ttlMs", ge=1)


class UnsubscribeParams(NamedParams):
    """The parameters of `events/unsubscribe`."""

    delivery: Receiver


class EventsResult(Result):
    """A result with the members that the SEP names."""

    model_config = ConfigDict(extra="allow", defer_build=True)
    result_type: Literal["complete"] = Field(default="complete", alias="resultType")


class EventParams(NotificationParams):
    """The parameters of a notification of a stream."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class EventNotification(Notification[EventParams, str]):
    """`notifications/events/…`."""


def result(**fields: Any) -> EventsResult:
    return EventsResult.model_validate(fields)


def event_error(error: BrokerPlaneError) -> MCPError:
    """The error of the extension for one of ours."""
    return MCPError(next((code for kind, code in _CODES_OF.items() if isinstance(error, kind)), INTERNAL), str(error))


_CODES_OF = {
    BrokerUnavailableError: RESOURCE_EXHAUSTED,
    NotPermittedError: FORBIDDEN,
    UntrustedHostError: CALLBACK_ENDPOINT,
    WebhookError: CALLBACK_ENDPOINT,
    WireError: INVALID_PARAMS,
}
