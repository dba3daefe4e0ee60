"""The feed routes: `GET /v1/feeds/<grant>` streams notices as server-sent events; versions and changes beside it.

The id of an event is the notice's place in the stream, so whoever comes again with `Last-Event-ID` misses nothing, on
whichever bridge. Nothing is kept here: what is sent is read from the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope, Send

from broker_plane.bridge.audience import Audiences
from broker_plane.bridge.data import DataRoute
from broker_plane.bridge.events import HEARTBEAT, HEARTBEAT_SECONDS, begin_events, ended, event, piece
from broker_plane.bridge.request import delivery_of, headers_of
from broker_plane.bridge.sending import send_json
from broker_plane.errors import BrokerPlaneError, FeedNotFoundError, SelectorError, WireError
from broker_plane.plane.feeds.granted import GrantedFeeds, OpenFeed, shown_notice
from broker_plane.tabular.json_values import json_value
from broker_plane.wire.feeds import Notice

RETRY_MILLISECONDS = 1000
"""After which a browser connects again."""

_MOST_SEQUENCE = 2**63 - 1


class FeedRoute:
    """GET of a feed, its versions and its changes."""

    def __init__(self, feeds: GrantedFeeds, audiences: Audiences, *, heartbeat_seconds: float | None = None) -> None:
        self._feeds = feeds
        self._audiences = audiences
        self._heartbeat = HEARTBEAT_SECONDS if heartbeat_seconds is None else heartbeat_seconds

    async def open(self, grant: str, scope: Scope) -> OpenFeed:
        """The feed of `grant`. Raises as `GrantedFeeds.open`."""
        return await self._feeds.open(grant, self._audiences.who(headers_of(scope)), delivery_of(scope).connection)

    async def get(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream of notices where the client accepts one, else the list of those that are kept."""
        feed = await self.open(grant, scope)
        headers = headers_of(scope)
        asked = _query(scope, "since")
        if "text/event-stream" in headers.get("accept", ""):
            start = await self._start(feed, headers.get("last-event-id", ""), asked.get("since", "last"))
            await self._stream(feed, start, scope, receive, send)
            return
        notices = await self._feeds.kept(feed)
        await send_json(send, 200, {"feed": feed.name, "versions": [_shown(feed, notice) for notice in notices]})

    async def version(self, grant: str, version: str, data: DataRoute, scope: Scope, send: Send) -> None:
        """One version, as every body is got: formats, ranges, conditions, projection."""
        feed = await self.open(grant, scope)
        notice = await self._feeds.version(feed, parse_version(version))
        await data.get_body(feed.opened, await self._feeds.body(feed, notice), scope, send)

    async def changes(self, grant: str, version: str, scope: Scope, send: Send) -> None:
        """`?since=n`: what changed since that version; `{"whole": true}` where the version itself is the way."""
        feed = await self.open(grant, scope)
        since = whole_number(_query(scope, "since").get("since", "0"), "since")
        notice = await self._feeds.version(feed, parse_version(version))
        changes = await self._feeds.changes(feed, notice, since)
        fields: dict[str, Any] = {"feed": feed.name, "key": list(notice.key), "since": since, "version": notice.version}
        if changes is None:
            await send_json(send, 200, fields | {"whole": True})
            return
        gone = [
            {"key": [json_value(each) for each in value], "columns": names}
            for value, names in changes.delta.gone.items()
        ]
        rows = {
            "added": [json_value(row) for row in changes.added],
            "changed": [json_value(row) for row in changes.changed],
            "removed": [json_value(row) for row in changes.removed],
        }
        await send_json(send, 200, fields | {"whole": False, **rows, **({"gone": gone} if gone else {})})

    async def _start(self, feed: OpenFeed, last_event_id: str, since: str) -> int:
        """The stream sequence after what the client has, or where it wants to begin.

        Raises:
            WireError: that is no number, and none of the words.
        """
        if last_event_id:
            return whole_number(last_event_id, "Last-Event-ID") + 1
        if since == "first":
            return 1
        if since in ("last", "new"):
            with suppress(FeedNotFoundError):
                return (await self._feeds.version(feed, None)).sequence + (since == "new")
            return 1
        version = whole_number(since, "since")
        later = [notice.sequence for notice in await self._feeds.kept(feed) if notice.version >= version]
        return later[0] if later else 1

    async def _stream(self, feed: OpenFeed, start: int, scope: Scope, receive: Receive, send: Send) -> None:
        await begin_events(send, RETRY_MILLISECONDS)
        leaving = asyncio.ensure_future(ended(receive, self._feeds.closing))
        try:
            async with aclosing(self._events(feed, start, leaving)) as events:
                async for told in events:
                    await send(piece(told))
        finally:
            leaving.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _events(self, feed: OpenFeed, start: int, leaving: asyncio.Future[None]) -> AsyncGenerator[bytes, None]:
        """Events and heartbeats, until the client leaves or its grant ends; that is the last event then."""
        async with aclosing(self._feeds.follow(feed, start)) as notices:
            coming = asyncio.ensure_future(_next(notices))
            try:
                while not leaving.done():
                    waiting: set[asyncio.Future[Any]] = {coming, leaving}
                    await asyncio.wait(waiting, timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED)
                    error = await self._over(feed)
                    if error is not None:
                        yield event("end", "", orjson.dumps({"code": error.code, "error": str(error)}))
                        return
                    if coming.done():
                        notice = coming.result()
                        yield event("notice", str(notice.sequence), orjson.dumps(_shown(feed, notice)))
                        coming = asyncio.ensure_future(_next(notices))
                    else:
                        yield HEARTBEAT
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _over(self, feed: OpenFeed) -> BrokerPlaneError | None:
        """Why the grant shows nothing any more. While the broker is away, that is not known."""
        try:
            await self._feeds.check(feed)
        except BrokerPlaneError as error:
            return None if error.retryable else error
        return None


def parse_version(text: str) -> int | None:
    """The version in a path; None is the newest, `last`.

    Raises:
        WireError: it is neither.
    """
    return None if text == "last" else whole_number(text, "The version")


def _shown(feed: OpenFeed, notice: Notice) -> dict[str, Any]:
    scope = feed.opened.grant.scope
    return shown_notice(notice, scope.columns, whole=scope.shows_all)


async def _next(notices: AsyncGenerator[Notice, None]) -> Notice:
    return await anext(notices)


def whole_number(text: str, what: str) -> int:
    """The number that a client wrote. Raises WireError: it is none."""
    if not (text.isascii() and text.isdigit() and int(text) < _MOST_SEQUENCE):
        raise WireError(f"{what} is a whole number; {text[:40]!r} is none")
    return int(text)


def _query(scope: Scope, *names: str) -> dict[str, str]:
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for name, _ in asked:
        if name not in names or len(asked) > len(names):
            raise SelectorError(f"The query takes {', '.join(names)}, once")
    return dict(asked)
