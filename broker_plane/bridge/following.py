"""What a subscriber over HTTP asks for and is told: the same events for server-sent events and for WebSockets.

The id of an event is the notice's place, so whoever comes again and names it misses nothing, on whichever bridge.
Nothing is kept here: places are in the stream, or in the broker where the subscriber named a durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import parse_qsl

from starlette.types import Scope

from broker_plane.bridge.problems import status_of
from broker_plane.bridge.request import headers_of
from broker_plane.errors import BrokerPlaneError, FeedNotFoundError, SelectorError, WireError
from broker_plane.plane.feeds.access import GrantedFeeds, OpenFeed, shown_notice
from broker_plane.plane.feeds.http_durables import HttpDurables
from broker_plane.plane.tasks import abandoned
from broker_plane.wire.feeds import Notice, Since
from broker_plane.wire.urls import quoted

HEARTBEAT_SECONDS = 15.0
_MOST_SEQUENCE = 2**63 - 1

Numbered = AsyncGenerator[tuple[str, Notice], None]
"""Notices and the ids of their events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Where a subscriber wants to begin: after an event, with what its durable has not taken, or at `since`."""

    since: Since = "last"
    after: str = ""
    durable: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """`notice`, with its place as `id`; or `end`, after which nothing comes, with `code`, `status` and `error`."""

    kind: Literal["notice", "end"]
    data: dict[str, Any]
    id: str = ""


class Following:
    """Streams of events."""

    def __init__(self, feeds: GrantedFeeds, places: HttpDurables) -> None:
        self._feeds = feeds
        self._places = places

    @property
    def closing(self) -> asyncio.Event:
        """Set when streams end because the bridge does; their clients come again, to another one."""
        return self._feeds.closing

    async def begin(self, feed: OpenFeed, grant: str, asked: Asked) -> Numbered:
        """The notices that were asked for.

        Raises:
            WireError: `after` is no event's id, or the durable no name.
            DurableError: the durable is another feed's.
        """
        if asked.durable:
            place = await self._places.ensure(feed, grant, asked.durable, asked.since)
            if asked.after:
                await self._places.ack(place, asked.after)
            return self._places.follow(feed, place)
        return self._numbered(feed, await self._start(feed, asked))

    async def taken(self, feed: OpenFeed, grant: str, durable: str, event_id: str) -> None:
        """The event of this id was taken; its durable goes on. Raises WireError."""
        await self._places.ack(self._places.named(feed, grant, durable), event_id)

    async def events(
        self, feed: OpenFeed, notices: Numbered, leaving: asyncio.Future[None]
    ) -> AsyncGenerator[Event | None, None]:
        """Events, and None where it is quiet, until `leaving` is done or the grant ends; that is the last event."""
        async with aclosing(notices):
            coming = asyncio.ensure_future(_next(notices))
            try:
                while not leaving.done():
                    waiting: set[asyncio.Future[Any]] = {coming, leaving}
                    await asyncio.wait(waiting, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                    error = await self._over(feed) or _failed(coming)
                    if error is not None:
                        fields = {"code": error.code, "status": status_of(error), "error": str(error)}
                        yield Event("end", fields)
                        return
                    if coming.done():
                        event_id, notice = coming.result()
                        yield Event("notice", shown(feed, notice), event_id)
                        coming = asyncio.ensure_future(_next(notices))
                    elif not leaving.done():
                        yield None
            finally:
                await abandoned(coming)

    async def _numbered(self, feed: OpenFeed, start: int) -> Numbered:
        async with aclosing(self._feeds.follow(feed, start)) as notices:
            async for notice in notices:
                yield str(notice.sequence), notice

    async def _start(self, feed: OpenFeed, asked: Asked) -> int:
        """The stream sequence after what the client has, or where it wants to begin."""
        since = asked.since
        if asked.after:
            return number(asked.after, "Last-Event-ID") + 1
        if since == "first":
            return 1
        if isinstance(since, str):
            with suppress(FeedNotFoundError):
                return (await self._feeds.version(feed, None)).sequence + (since == "new")
            return 1
        later = [notice.sequence for notice in await self._feeds.notices(feed) if notice.version >= since]
        return later[0] if later else 1

    async def _over(self, feed: OpenFeed) -> BrokerPlaneError | None:
        """Why the grant shows nothing any more. While the broker is away, that is not known."""
        try:
            await self._feeds.check(feed)
        except BrokerPlaneError as error:
            return None if error.retryable else error
        return None


def asked_of(scope: Scope) -> Asked:
    """What the query and `Last-Event-ID` ask for.

    Raises:
        SelectorError, WireError: something else stands there.
    """
    query = query_of(scope, "since", "after", "durable")
    since = query.get("since", "last")
    after = headers_of(scope).get("last-event-id", "") or query.get("after", "")
    known = cast("Since", since) if since in ("first", "last", "new") else number(since, "since")
    return Asked(since=known, after=after, durable=query.get("durable", ""))


def shown(feed: OpenFeed, notice: Notice) -> dict[str, Any]:
    """What the feed's grant shows of a notice."""
    scope = feed.opened.grant.scope
    return shown_notice(notice, scope.columns, whole=scope.shows_all)


def number(text: str, what: str) -> int:
    """A whole number. Raises WireError, which calls it `what`."""
    if not (text.isascii() and text.isdigit() and int(text) < _MOST_SEQUENCE):
        raise WireError(f"{what} is a whole number; {quoted(text)} is none")
    return int(text)


def query_of(scope: Scope, *names: str) -> dict[str, str]:
    """The fields of the query, each of `names` at most once.

    Raises:
        SelectorError: there is another, or one twice: a misspelled name must not widen the answer.
    """
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    found = dict(asked)
    if len(found) < len(asked) or not found.keys() <= set(names):
        raise SelectorError(f"The query takes {', '.join(names)}, each once")
    return found


async def _next(notices: Numbered) -> tuple[str, Notice]:
    return await anext(notices)


def _failed(coming: asyncio.Future[Any]) -> BrokerPlaneError | None:
    error = coming.exception() if coming.done() else None
    if error is None or isinstance(error, BrokerPlaneError):
        return error
    raise error
