"""The events of a subscription over HTTP, the same for server-sent events and WebSockets.

An event's id is the notice's position in the stream, so a client that reconnects with it misses nothing, on any bridge.
A bridge keeps no state of its own: positions are in the stream, or in the broker if the subscriber named a durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

from starlette.types import Scope

from broker_plane.errors import BrokerPlaneError, FeedNotFoundError
from broker_plane.plane.feeds.access import GrantedFeeds, OpenFeed, shown_notice
from broker_plane.plane.feeds.http_durables import HttpDurables
from broker_plane.web.heartbeats import HEARTBEAT_SECONDS, items_or_heartbeats
from broker_plane.web.problems import status_of
from broker_plane.web.request import headers_of, query_fields, whole_number
from broker_plane.wire.feeds import Notice, Since

Numbered = AsyncGenerator[tuple[str, Notice], None]
"""Notices with the ids of their events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a subscription begins: after an event, at what its durable has not acknowledged, or at `since`."""

    since: Since = "last"
    after: str = ""
    durable: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A `notice` with its position as `id`; or `end`, the last event, with `code`, `status` and `error`."""

    kind: Literal["notice", "end"]
    data: dict[str, Any]
    id: str = ""


class FeedEvents:
    """Follows feeds, and acknowledges events."""

    def __init__(self, feeds: GrantedFeeds, places: HttpDurables) -> None:
        self._feeds = feeds
        self._places = places

    async def begin(self, feed: OpenFeed, grant: str, start: Start) -> Numbered:
        """The notices from `start` on.

        Raises:
            WireError: `after` is not the id of an event, or the name of the durable is invalid.
            DurableError: the durable belongs to another feed.
        """
        if start.durable:
            place = await self._places.ensure(feed, grant, start.durable, start.since)
            if start.after:
                await self._places.ack(place, start.after)
            return self._places.follow(feed, place)
        return self._numbered(feed, await self._sequence(feed, start))

    async def ack(self, feed: OpenFeed, grant: str, durable: str, event_id: str) -> None:
        """Acknowledge the event of a durable. Raises WireError."""
        await self._places.ack(self._places.named(feed, grant, durable), event_id)

    async def follow(
        self, feed: OpenFeed, notices: Numbered, leaving: asyncio.Future[None]
    ) -> AsyncGenerator[Event | None, None]:
        """Events, and None as a heartbeat, until `leaving` is done or the grant ends, which is the last event."""
        following = items_or_heartbeats(notices, HEARTBEAT_SECONDS, leaving)
        try:
            async with aclosing(notices), aclosing(following):
                async for each in following:
                    if (error := await self._ended(feed)) is not None:
                        yield _end(error)
                        return
                    yield None if each is None else Event("notice", shown(feed, each[1]), each[0])
        except BrokerPlaneError as error:
            yield _end(await self._ended(feed) or error)

    async def _numbered(self, feed: OpenFeed, start: int) -> Numbered:
        async with aclosing(self._feeds.follow(feed, start)) as notices:
            async for notice in notices:
                yield str(notice.sequence), notice

    async def _sequence(self, feed: OpenFeed, start: Start) -> int:
        """The stream sequence after the last one that the client has, or at which it wants to begin."""
        since = start.since
        if start.after:
            return whole_number(start.after, "Last-Event-ID") + 1
        if since == "first":
            return 1
        if isinstance(since, str):
            with suppress(FeedNotFoundError):
                return (await self._feeds.version(feed, None)).sequence + (since == "new")
            return 1
        later = [notice.sequence for notice in await self._feeds.notices(feed) if notice.version >= since]
        return later[0] if later else 1

    async def _ended(self, feed: OpenFeed) -> BrokerPlaneError | None:
        """Why the grant shows nothing any more. While the broker is unavailable, this is unknown."""
        try:
            await self._feeds.check(feed)
        except BrokerPlaneError as error:
            return None if error.retryable else error
        return None


def start_of(scope: Scope) -> Start:
    """Where the query and `Last-Event-ID` ask to begin.

    Raises:
        SelectorError, WireError: the query is malformed.
    """
    query = query_fields(scope, "since", "after", "durable")
    since = query.get("since", "last")
    after = headers_of(scope).get("last-event-id", "") or query.get("after", "")
    known = cast("Since", since) if since in ("first", "last", "new") else whole_number(since, "since")
    return Start(since=known, after=after, durable=query.get("durable", ""))


def shown(feed: OpenFeed, notice: Notice) -> dict[str, Any]:
    """A notice within the scope of the feed's grant."""
    scope = feed.opened.grant.scope
    return shown_notice(notice, scope.columns, whole=scope.shows_all)


def _end(error: BrokerPlaneError) -> Event:
    return Event("end", {"code": error.code, "status": status_of(error), "error": str(error)})
