"""The Events extension (SEP-3415) over feeds: list, poll, stream and webhooks.

An event announces a version; its data describes the version and has a grant. Cursors and event ids are sequence
numbers of the stream BP_FEEDS, so a client that polls twice can drop events it already has.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from mcp.server.context import ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError

from broker_plane.errors import BrokerPlaneError
from broker_plane.mcp_server.event_hooks import principal_of, subscribe, unsubscribe
from broker_plane.mcp_server.event_shapes import (
    EVENTS,
    INVALID_PARAMS,
    NOT_FOUND,
    SUBSCRIPTION_ID,
    EventNotification,
    EventParams,
    EventsResult,
    ListParams,
    NamedParams,
    PollParams,
    SubscribeParams,
    UnsubscribeParams,
    event_error,
    result,
)
from broker_plane.mcp_server.feed import GRANT_SECONDS, Feed
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.web.heartbeats import items_or_heartbeats
from broker_plane.wire.urls import quoted

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane
    from broker_plane.wire.feeds import Notice

_MOST_EVENTS = 100
_HEARTBEAT_SECONDS = 30.0
_NEXT_POLL_MS = 5_000


class EventsExtension(Extension):
    """Serves the feeds that a server declares as events."""

    identifier = EVENTS

    def __init__(self, holder: PlaneHolder, feeds: dict[str, Feed]) -> None:
        self._holder = holder
        self._feeds = feeds

    def settings(self) -> dict[str, Any]:
        return {"listChanged": False}

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("events/list", ListParams, self._list),
            MethodBinding("events/poll", PollParams, self._poll),
            MethodBinding("events/stream", PollParams, self._stream),
            MethodBinding("events/subscribe", SubscribeParams, self._subscribe),
            MethodBinding("events/unsubscribe", UnsubscribeParams, self._unsubscribe),
        ]

    async def _list(self, ctx: ServerRequestContext[Any, Any], params: ListParams) -> EventsResult:
        events = [
            {
                "name": feed.name,
                "description": feed.description or f"Versions of the feed {feed.name}",
                "delivery": ["poll", "push", "webhook"],
                "inputSchema": {"type": "object", "additionalProperties": False},
                "payloadSchema": {"type": "object", "required": ["feed", "version", "resource_url"]},
            }
            for feed in self._feeds.values()
        ]
        return result(events=events)

    async def _poll(self, ctx: ServerRequestContext[Any, Any], params: PollParams) -> EventsResult:
        feed = self._feed(params)
        most = min(params.max_events or _MOST_EVENTS, _MOST_EVENTS)
        try:
            plane = await self._holder.plane()
            start, truncated = await self._start(plane, feed, params)
            found: list[Notice] = []
            async with aclosing(plane.feeds.read(feed, start)) as notices:
                async for notice in notices:
                    found.append(notice)
                    if len(found) > most:
                        break
            events = [await _occurrence(plane, notice) for notice in found[:most]]
        except BrokerPlaneError as error:
            raise event_error(error) from error
        cursor = events[-1]["cursor"] if events else str(start - 1)
        more = len(found) > most
        return result(
            events=events, cursor=cursor, truncated=truncated, hasMore=more, nextPollMs=0 if more else _NEXT_POLL_MS
        )

    async def _stream(self, ctx: ServerRequestContext[Any, Any], params: PollParams) -> EventsResult:
        """Send notifications on this request's own stream until the client leaves."""
        feed = self._feed(params)
        try:
            plane = await self._holder.plane()
            start, truncated = await self._start(plane, feed, params)
            await _notify(ctx, "active", cursor=str(start - 1), truncated=truncated)
            cursor = str(start - 1)
            async with (
                aclosing(plane.feeds.follow_from(feed, start)) as notices,
                aclosing(items_or_heartbeats(notices, _HEARTBEAT_SECONDS)) as items,
            ):
                async for notice in items:
                    if notice is None:
                        await _notify(ctx, "heartbeat", cursor=cursor)
                        continue
                    occurrence = await _occurrence(plane, notice)
                    cursor = occurrence["cursor"]
                    await _notify(ctx, "event", **occurrence)
            return result()  # never: a feed has no end
        except BrokerPlaneError as error:
            raise event_error(error) from error

    async def _subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeParams) -> EventsResult:
        feed = self._feed(params)
        principal = principal_of(ctx)
        try:
            plane = await self._holder.plane()
            start, truncated = await self._start(plane, feed, params)
            return result(**await subscribe(plane, principal, params, start, truncated))
        except BrokerPlaneError as error:
            raise event_error(error) from error

    async def _unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeParams) -> EventsResult:
        self._feed(params)
        principal = principal_of(ctx)
        try:
            await unsubscribe(await self._holder.plane(), principal, params)
        except BrokerPlaneError as error:
            raise event_error(error) from error
        return result()

    def _feed(self, params: NamedParams) -> str:
        if params.name not in self._feeds:
            raise MCPError(NOT_FOUND, f"There is no event {quoted(params.name)}; events/list lists the events")
        if params.arguments:
            raise MCPError(INVALID_PARAMS, "This event takes no arguments")
        return params.name

    async def _start(self, plane: Plane, feed: str, params: PollParams) -> tuple[int, bool]:
        """The sequence to begin at, and whether versions after the cursor have been deleted."""
        if params.cursor is None:
            return await plane.feeds.start(feed, "new"), False
        if not (params.cursor.isascii() and params.cursor.isdigit() and len(params.cursor) < 19):
            raise MCPError(INVALID_PARAMS, "cursor must be a cursor of an earlier result")
        start = int(params.cursor) + 1
        if params.max_age_ms is not None:
            oldest = plane.wiring.now() - params.max_age_ms / 1000
            start = max(start, await plane.feeds.start(feed, oldest))
        first = await _first(plane, feed)
        # Versions are numbered from 1: if the first kept version is a later one, the cursor may point before it.
        return start, first is not None and first.version > 1 and start < first.sequence


async def _occurrence(plane: Plane, notice: Notice) -> dict[str, Any]:
    from broker_plane.plane.feeds.webhook_sender import occurrence  # deferred: slow to import

    granted = await plane.feeds.grant(notice.feed, ttl=GRANT_SECONDS)
    return occurrence(notice, f"{granted.resource_url}/{notice.version}")


async def _first(plane: Plane, feed: str) -> Notice | None:
    async with aclosing(plane.feeds.read(feed)) as notices:
        async for notice in notices:
            return notice
    return None


async def _notify(ctx: ServerRequestContext[Any, Any], what: str, **fields: Any) -> None:
    params = EventParams.model_validate({"_meta": {SUBSCRIPTION_ID: ctx.request_id}, **fields})
    notification = EventNotification(method=f"notifications/events/{what}", params=params)
    # The SDK is typed for its own notifications only, but sends any.
    await ctx.session.send_notification(cast("Any", notification), related_request_id=ctx.request_id)
