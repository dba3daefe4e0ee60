"""Sends a feed's notices to a webhook endpoint, as thin events: they announce a version and hold a grant for it.

An endpoint is a durable subscriber: an event that its receiver does not accept is sent again by a schedule, and is then
a dead letter. Order is best effort, as in SEP-3415: an event that waits does not hold up later ones.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from broker_plane.errors import BrokerPlaneError, WebhookError
from broker_plane.logs import FIELDS
from broker_plane.plane.feeds.access import shown_notice
from broker_plane.plane.feeds.message import FeedMessage
from broker_plane.plane.feeds.webhook_endpoints import Endpoints
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.webhooks.signed_post import SignedPost, WebhookResponse, WebhookTransport
from broker_plane.wire.durables import FEEDS
from broker_plane.wire.feeds import Notice
from broker_plane.wire.webhooks import Endpoint

log = redacted_logger(__name__)

_GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A line of the delivery log. `at` is in unix seconds; `status` is 0 if there was no response."""

    at: float
    endpoint: str
    event: str
    times: int
    status: int
    seconds: float
    error: str = ""


class FeedSender:
    """Sends the messages of one endpoint's subscription; `send` is its handler."""

    def __init__(
        self,
        endpoint: Endpoint,
        endpoints: Endpoints,
        transport: WebhookTransport,
        address: Callable[[Endpoint, Notice], Awaitable[str]],
        log: Callable[[Attempt], Awaitable[None]],
        *,
        now: Callable[[], float],
    ) -> None:
        self._id = endpoint.id
        self._endpoints = endpoints
        self._post = SignedPost(transport, now=now)
        self._address = address
        self._log = log
        self._now = now

    async def send(self, message: FeedMessage) -> None:
        """Return once the receiver has accepted the event.

        Raises:
            WebhookError: it has not; `retry_after` is what it requested.
        """
        endpoint = await self._endpoints.get(self._id)  # its secrets may have been rotated
        if endpoint.state != "active" or not endpoint.alive(self._now()):
            raise WebhookError("This endpoint is disabled, or its subscription has expired")
        response = await self._send(endpoint, message)
        if response.status == _GONE:
            await self._endpoints.disable(endpoint.id, "It answered 410 Gone")
        if not response.accepted:
            error = f"It answered {response.status}" if response.status else f"No response: {response.error}"
            raise WebhookError(error, retry_after=response.retry_after)

    async def _send(self, endpoint: Endpoint, message: FeedMessage) -> WebhookResponse:
        """Send one attempt and log it."""
        notice = message.notice
        event_id = occurrence_id(notice) if endpoint.subscription else event_id_of(notice)
        body = orjson.dumps(event(endpoint, notice, await self._address(endpoint, notice)))
        headers = {"x-mcp-subscription-id": endpoint.id} if endpoint.subscription else {}
        began = self._now()
        try:
            response = await self._post.send(endpoint.url, event_id, body, endpoint.valid_secrets(began), headers)
        except BrokerPlaneError as error:  # nothing was sent; the log says why
            await self._note(endpoint, event_id, message, began, WebhookResponse(0, error=str(error)))
            raise
        await self._note(endpoint, event_id, message, began, response)
        return response

    async def _note(
        self, endpoint: Endpoint, event_id: str, message: FeedMessage, began: float, response: WebhookResponse
    ) -> None:
        attempt = Attempt(
            at=began,
            endpoint=endpoint.id,
            event=event_id,
            times=message.attempt,
            status=response.status,
            seconds=self._now() - began,
            error=response.error,
        )
        await self._log(attempt)
        _log_attempt(attempt, accepted=response.accepted)


def _log_attempt(attempt: Attempt, *, accepted: bool) -> None:
    level = logging.INFO if accepted else logging.WARNING
    line = "webhook %s: attempt %d of %s: status %d after %.2fs%s"
    error = f": {attempt.error}" if attempt.error else ""
    values = (attempt.endpoint, attempt.times, attempt.event, attempt.status, attempt.seconds, error)
    log.log(level, line, *values, extra={FIELDS: asdict(attempt)})


def event(endpoint: Endpoint, notice: Notice, resource_url: str) -> dict[str, Any]:
    """Return the event for `endpoint`, limited to what it may see of the version."""
    if endpoint.subscription:
        return occurrence(notice, resource_url)
    whole = endpoint.columns is None and endpoint.where is None
    return {
        "type": "feed.version",
        "timestamp": _time(notice),
        "data": shown_notice(notice, endpoint.columns, whole=whole) | {"resource_url": resource_url},
    }


def occurrence(notice: Notice, resource_url: str) -> dict[str, Any]:
    """Return the EventOccurrence (SEP-3415) of a version. Its cursor is the notice's stream sequence."""
    return {
        "eventId": occurrence_id(notice),
        "name": notice.feed,
        "timestamp": _time(notice),
        "data": notice.to_wire() | {"resource_url": resource_url},
        "cursor": str(notice.sequence),
    }


def occurrence_id(notice: Notice) -> str:
    """Return the event id of a version for MCP clients."""
    return f"{FEEDS}:{notice.sequence}"


def event_id_of(notice: Notice) -> str:
    """Return the event id of a version: the same for every attempt and sender."""
    return f"evt_{notice.feed.replace('.', '-')}_{notice.sequence}"


def _time(notice: Notice) -> str:
    return datetime.fromtimestamp(notice.at, UTC).isoformat().replace("+00:00", "Z")
