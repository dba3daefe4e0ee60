"""The Events extension's shapes (SEP-3415): its parameters, its result, and its codes."""

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
"""The one table of the extension's codes, which are provisional."""


class ListParams(RequestParams):
    """Of `events/list`."""

    model_config = ConfigDict(defer_build=True)

    cursor: str | None = None


class NamedParams(RequestParams):
    """What names an event."""

    model_config = ConfigDict(defer_build=True)

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class PollParams(NamedParams):
    """Of `events/poll` and `events/stream`. Without a cursor it begins now."""

    cursor: str | None = None
    max_age_ms: int | None = Field(default=None, alias="maxAgeMs", ge=0)
    max_events: int | None = Field(default=None, alias="maxEvents", ge=1)


class Receiver(BaseModel):
    """Where events are to go."""

    model_config = ConfigDict(defer_build=True)

    url: str


class Webhook(Receiver):
    """By which they go there; the secret signs them (Standard Webhooks)."""

    mode: Literal["webhook"]
    secret: str


class SubscribeParams(PollParams):
    """Of `events/subscribe`. Without `ttlMs` the server says how long."""

    delivery: Webhook
    ttl_ms: int | None = Field(default=None, alias="ttlMs", ge=1)


class UnsubscribeParams(NamedParams):
    """Of `events/unsubscribe`."""

    delivery: Receiver


class EventsResult(Result):
    """A result whose members are those of the SEP."""

    model_config = ConfigDict(extra="allow", defer_build=True)
    result_type: Literal["complete"] = Field(default="complete", alias="resultType")


class EventParams(NotificationParams):
    """Of a notification of a stream."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class EventNotification(Notification[EventParams, str]):
    """`notifications/events/…`."""


def result(**fields: Any) -> EventsResult:
    return EventsResult.model_validate(fields)


def mcp_error(error: BrokerPlaneError) -> MCPError:
    """The error of the extension for one of ours."""
    return MCPError(next((code for kind, code in _CODES_OF.items() if isinstance(error, kind)), INTERNAL), str(error))


_CODES_OF = {
    BrokerUnavailableError: RESOURCE_EXHAUSTED,
    NotPermittedError: FORBIDDEN,
    UntrustedHostError: CALLBACK_ENDPOINT,
    WebhookError: CALLBACK_ENDPOINT,
    WireError: INVALID_PARAMS,
}
