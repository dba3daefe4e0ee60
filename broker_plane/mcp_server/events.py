"""The Events extension (SEP-3415) over feeds: list, poll and stream. Cursors are places in the stream BP_FEEDS.

An event says that there is a version; its data is what is known of it and a grant. Its `eventId` is the place, too, so
whoever asks twice can drop what it has. Delivery by webhook is not offered here; `broker-plane webhooks` has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Literal, cast

from mcp.server.context import ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp.types import Notification, NotificationParams, RequestParams, Result
from pydantic import ConfigDict, Field

from broker_plane.errors import BrokerAwayError, BrokerPlaneError
from broker_plane.mcp_server.feed import GRANT_SECONDS, Feed
from broker_plane.mcp_server.hold import PlaneHold
from broker_plane.runtime.connect import Plane
from broker_plane.wire.feeds import Notice

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

_MOST_EVENTS = 100
_HEARTBEAT_SECONDS = 30.0
_NEXT_POLL_MS = 5_000


class ListParams(RequestParams):
    """Of `events/list`."""

    cursor: str | None = None


class PollParams(RequestParams):
    """Of `events/poll` and `events/stream`. Without a cursor it begins now."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    cursor: str | None = None
    max_age_ms: int | None = Field(default=None, alias="maxAgeMs", ge=0)
    max_events: int | None = Field(default=None, alias="maxEvents", ge=1)


class EventsResult(Result):
    """A result whose members are those of the SEP."""

    model_config = ConfigDict(extra="allow")
    result_type: Literal["complete"] = Field(default="complete", alias="resultType")


class EventParams(NotificationParams):
    """Of a notification of a stream."""

    model_config = ConfigDict(extra="allow")


class EventNotification(Notification[EventParams, str]):
    """`notifications/events/…`."""


class FeedEvents(Extension):
    """Serves the feeds that a server declares."""

    identifier = EVENTS

    def __init__(self, hold: PlaneHold, feeds: dict[str, Feed]) -> None:
        self._hold = hold
        self._feeds = feeds

    def settings(self) -> dict[str, Any]:
        return {"listChanged": False}

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("events/list", ListParams, self._list),
            MethodBinding("events/poll", PollParams, self._poll),
            MethodBinding("events/stream", PollParams, self._stream),
        ]

    async def _list(self, ctx: ServerRequestContext[Any, Any], params: ListParams) -> EventsResult:
        events = [
            {
                "name": feed.name,
                "description": feed.description or f"Versions of the feed {feed.name}",
                "delivery": ["poll", "push"],
                "inputSchema": {"type": "object", "additionalProperties": False},
                "payloadSchema": {"type": "object", "required": ["feed", "version", "resource_url"]},
            }
            for feed in self._feeds.values()
        ]
        return _result(events=events)

    async def _poll(self, ctx: ServerRequestContext[Any, Any], params: PollParams) -> EventsResult:
        feed = self._feed(params)
        most = min(params.max_events or _MOST_EVENTS, _MOST_EVENTS)
        try:
            plane = await self._hold.plane()
            start, truncated = await self._start(plane, feed, params)
            found: list[Notice] = []
            async with aclosing(plane.feeds.log.read(feed, start)) as notices:
                async for notice in notices:
                    found.append(notice)
                    if len(found) > most:
                        break
            events = [await _occurrence(plane, notice) for notice in found[:most]]
        except BrokerPlaneError as error:
            raise _mcp(error) from error
        cursor = events[-1]["cursor"] if events else str(start - 1)
        more = len(found) > most
        return _result(
            events=events, cursor=cursor, truncated=truncated, hasMore=more, nextPollMs=0 if more else _NEXT_POLL_MS
        )

    async def _stream(self, ctx: ServerRequestContext[Any, Any], params: PollParams) -> EventsResult:
        """Notifications on this request's own stream, until the client leaves."""
        feed = self._feed(params)
        try:
            plane = await self._hold.plane()
            start, truncated = await self._start(plane, feed, params)
            await _notify(ctx, "active", cursor=str(start - 1), truncated=truncated)
            cursor = str(start - 1)
            async with aclosing(plane.feeds.tail.follow(feed, start)) as notices:
                coming = asyncio.ensure_future(_next(notices))
                try:
                    while True:
                        await asyncio.wait({coming}, timeout=_HEARTBEAT_SECONDS)
                        if not coming.done():
                            await _notify(ctx, "heartbeat", cursor=cursor)
                            continue
                        occurrence = await _occurrence(plane, coming.result())
                        cursor = occurrence["cursor"]
                        await _notify(ctx, "event", **occurrence)
                        coming = asyncio.ensure_future(_next(notices))
                finally:
                    coming.cancel()
                    await asyncio.gather(coming, return_exceptions=True)
        except BrokerPlaneError as error:
            raise _mcp(error) from error

    def _feed(self, params: PollParams) -> str:
        if params.name not in self._feeds:
            raise MCPError(NOT_FOUND, f"There is no event {params.name[:80]!r} here; events/list has those there are")
        if params.arguments:
            raise MCPError(INVALID_PARAMS, "This event takes no arguments")
        return params.name

    async def _start(self, plane: Plane, feed: str, params: PollParams) -> tuple[int, bool]:
        """The sequence to begin at, and whether what the cursor was before is partly gone."""
        if params.cursor is None:
            return await plane.feeds.start(feed, "new"), False
        if not (params.cursor.isascii() and params.cursor.isdigit() and len(params.cursor) < 19):
            raise MCPError(INVALID_PARAMS, "cursor is what an answer before gave")
        start = int(params.cursor) + 1
        if params.max_age_ms is not None:
            oldest = datetime.now(UTC).timestamp() - params.max_age_ms / 1000
            start = max(start, await plane.feeds.start(feed, oldest))
        first = await _first(plane, feed)
        # Versions count by one: where the first that is kept is not the first there was, the cursor may be behind it.
        return start, first is not None and first.version > 1 and start < first.sequence


async def _occurrence(plane: Plane, notice: Notice) -> dict[str, Any]:
    granted = await plane.grant_feed(notice.feed, ttl=GRANT_SECONDS)
    return {
        "eventId": f"BP_FEEDS:{notice.sequence}",
        "name": notice.feed,
        "timestamp": datetime.fromtimestamp(notice.at, UTC).isoformat().replace("+00:00", "Z"),
        "data": notice.to_wire() | {"resource_url": f"{granted.resource_url}/{notice.version}"},
        "cursor": str(notice.sequence),
    }


async def _first(plane: Plane, feed: str) -> Notice | None:
    async with aclosing(plane.feeds.log.read(feed)) as notices:
        async for notice in notices:
            return notice
    return None


async def _next(notices: Any) -> Notice:
    found: Notice = await anext(notices)
    return found


async def _notify(ctx: ServerRequestContext[Any, Any], what: str, **fields: Any) -> None:
    params = EventParams.model_validate({"_meta": {SUBSCRIPTION_ID: ctx.request_id}, **fields})
    notification = EventNotification(method=f"notifications/events/{what}", params=params)
    # The SDK's type names its own notifications only; it sends any.
    await ctx.session.send_notification(cast("Any", notification), related_request_id=ctx.request_id)


def _result(**fields: Any) -> EventsResult:
    return EventsResult.model_validate(fields)


def _mcp(error: BrokerPlaneError) -> MCPError:
    return MCPError(RESOURCE_EXHAUSTED if isinstance(error, BrokerAwayError) else INTERNAL, str(error))
