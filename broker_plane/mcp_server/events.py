"""The Events extension (SEP-3415) over feeds: list, poll, stream and webhooks. Cursors are places in BP_FEEDS.

An event says that there is a version; its data is what is known of it and a grant. Its `eventId` is the place, too, so
whoever asks twice can drop what it has.
"""

from __future__ import annotations

import asyncio
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
    mcp_error,
    result,
)
from broker_plane.mcp_server.feed import GRANT_SECONDS, Feed
from broker_plane.mcp_server.plane_holder import PlaneHold
from broker_plane.plane.tasks import abandoned
from broker_plane.wire.urls import quoted

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane
    from broker_plane.wire.feeds import Notice

_MOST_EVENTS = 100
_HEARTBEAT_SECONDS = 30.0
_NEXT_POLL_MS = 5_000


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
            plane = await self._hold.plane()
            start, truncated = await self._start(plane, feed, params)
            found: list[Notice] = []
            async with aclosing(plane.feeds.read(feed, start)) as notices:
                async for notice in notices:
                    found.append(notice)
                    if len(found) > most:
                        break
            events = [await _occurrence(plane, notice) for notice in found[:most]]
        except BrokerPlaneError as error:
            raise mcp_error(error) from error
        cursor = events[-1]["cursor"] if events else str(start - 1)
        more = len(found) > most
        return result(
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
            async with aclosing(plane.feeds.follow_from(feed, start)) as notices:
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
                    await abandoned(coming)
        except BrokerPlaneError as error:
            raise mcp_error(error) from error

    async def _subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeParams) -> EventsResult:
        feed = self._feed(params)
        principal = principal_of(ctx)
        try:
            plane = await self._hold.plane()
            start, truncated = await self._start(plane, feed, params)
            return result(**await subscribe(plane, principal, params, start, truncated))
        except BrokerPlaneError as error:
            raise mcp_error(error) from error

    async def _unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeParams) -> EventsResult:
        self._feed(params)
        principal = principal_of(ctx)
        try:
            await unsubscribe(await self._hold.plane(), principal, params)
        except BrokerPlaneError as error:
            raise mcp_error(error) from error
        return result()

    def _feed(self, params: NamedParams) -> str:
        if params.name not in self._feeds:
            raise MCPError(NOT_FOUND, f"There is no event {quoted(params.name)} here; events/list has those there are")
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
            oldest = plane.wiring.now() - params.max_age_ms / 1000
            start = max(start, await plane.feeds.start(feed, oldest))
        first = await _first(plane, feed)
        # Versions count by one: where the first that is kept is not the first there was, the cursor may be behind it.
        return start, first is not None and first.version > 1 and start < first.sequence


async def _occurrence(plane: Plane, notice: Notice) -> dict[str, Any]:
    from broker_plane.plane.feeds.webhooks import occurrence  # with the plane, and not at the start of a server

    granted = await plane.feeds.grant(notice.feed, ttl=GRANT_SECONDS)
    return occurrence(notice, f"{granted.resource_url}/{notice.version}")


async def _first(plane: Plane, feed: str) -> Notice | None:
    async with aclosing(plane.feeds.read(feed)) as notices:
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
