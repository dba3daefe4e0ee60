"""The feed routes: `GET /v1/feeds/<grant>` streams notices as server-sent events; versions and changes are below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from broker_plane.bridge.access import RequestAccess, grant_of
from broker_plane.bridge.bodies import BodyRoutes
from broker_plane.bridge.feed_events import Event, FeedEvents, Numbered, shown, start_of
from broker_plane.bridge.feed_sockets import FeedSockets
from broker_plane.errors import WireError
from broker_plane.plane.feeds.access import GrantedFeeds, OpenFeed
from broker_plane.plane.feeds.changes import Changes
from broker_plane.plane.feeds.http_durables import HttpDurables
from broker_plane.tabular.json_values import json_value
from broker_plane.web.delivery import delivery_of
from broker_plane.web.heartbeats import departure
from broker_plane.web.request import headers_of, json_object, query_fields, read_body, whole_number
from broker_plane.web.sending import send_json, send_json_text
from broker_plane.web.sse import HEARTBEAT, begin_events, end_events, event, piece

_AT_ONCE = 1024
RETRY_MILLISECONDS = 1000
"""Delay after which a browser reconnects."""


class FeedRoutes:
    """A feed's notices, versions, changes and acknowledgements."""

    def __init__(self, feeds: GrantedFeeds, places: HttpDurables, bodies: BodyRoutes, access: RequestAccess) -> None:
        self._feeds = feeds
        self._bodies = bodies
        self._access = access
        self._events = FeedEvents(feeds, places)
        self._sockets = FeedSockets(feeds, self._events, access)

    async def get(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream of notices if the client accepts one, else the list of those that are kept."""
        feed = await self._open(scope)
        start = start_of(scope)
        if "text/event-stream" in headers_of(scope).get("accept", ""):
            delivery_of(scope).endless = True
            async with self._access.admission.streams.place(feed.opened.payer):
                await self._stream(feed, await self._events.begin(feed, grant_of(scope), start), receive, send)
            return
        async with self._admitted(feed):
            notices = await self._feeds.notices(feed)
            await send_json(send, 200, {"feed": feed.name, "versions": [shown(feed, notice) for notice in notices]})

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same stream over a WebSocket. Raises as `FeedSockets.serve`."""
        await self._sockets.serve(scope, receive, send)

    async def ack(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"durable", "id"}`: acknowledge this event, so that the durable's next one is sent, on any bridge."""
        feed = await self._open(scope)
        async with self._admitted(feed):
            fields = json_object(await read_body(scope, receive)) or {}
        names = [fields.pop(name, None) for name in ("durable", "id")]
        if fields or not all(isinstance(name, str) and name for name in names):
            raise WireError('The body must be {"durable": "<its name>", "id": "<of the event>"}')
        durable, event_id = map(str, names)
        await self._events.ack(feed, grant_of(scope), durable, event_id)
        await send_json(send, 200, {"status": "taken"})

    async def version(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET and HEAD of one version, with formats, ranges, conditions and projection like any body."""
        feed = await self._open(scope)
        async with self._admitted(feed):
            notice = await self._feeds.version(feed, _version_of(scope))
            await self._bodies.get_body(feed.opened, await self._feeds.body(feed, notice), scope, send)

    async def changes(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`?since=n`: the changes since that version; `{"whole": true}` means: get the version itself instead."""
        feed = await self._open(scope)
        since = whole_number(query_fields(scope, "since").get("since", "0"), "since")
        async with self._admitted(feed):
            await self._send_changes(feed, scope, since, send)

    async def _send_changes(self, feed: OpenFeed, scope: Scope, since: int, send: Send) -> None:
        notice = await self._feeds.version(feed, _version_of(scope))
        changes = await self._feeds.changes(feed, notice, since)
        fields: dict[str, Any] = {"feed": feed.name, "key": list(notice.key), "since": since, "version": notice.version}
        if changes is None:
            await send_json(send, 200, fields | {"whole": True})
            return
        raw = await self._feeds.account(feed).do(len(changes.delta), partial(_changes_json, fields, changes))
        await send_json_text(send, 200, raw)

    async def _open(self, scope: Scope) -> OpenFeed:
        connection = delivery_of(scope).connection
        return await self._feeds.open(grant_of(scope), self._access.who(scope), connection)

    def _admitted(self, feed: OpenFeed) -> AbstractAsyncContextManager[None]:
        return self._access.admission.requests.place(feed.opened.payer)

    async def _stream(self, feed: OpenFeed, notices: Numbered, receive: Receive, send: Send) -> None:
        async with aclosing(notices):
            await begin_events(send, RETRY_MILLISECONDS)
            async with (
                departure(receive, self._access.closing) as leaving,
                aclosing(self._events.follow(feed, notices, leaving)) as events,
            ):
                async for each in events:
                    await send(piece(_lines(each)))
            await end_events(send)


def _version_of(scope: Scope) -> int | None:
    """The version in the path; None is the newest, `last`. Raises WireError."""
    text = scope["path_params"]["version"]
    return None if text == "last" else whole_number(text, "The version")


def _lines(each: Event | None) -> bytes:
    return HEARTBEAT if each is None else event(each.kind, each.id, orjson.dumps(each.data))


def _changes_json(fields: dict[str, Any], changes: Changes) -> bytes:
    """The changes as JSON, written in steps: one large call into C would block all other threads."""
    parts = {"added": changes.added, "changed": changes.changed, "removed": changes.removed}
    gone = [
        {"key": [json_value(each) for each in value], "columns": names} for value, names in changes.delta.gone.items()
    ]
    parts |= {"gone": gone} if gone else {}
    pieces = [orjson.dumps(fields | {"whole": False})[:-1]]
    pieces += [b',"%s":[%s]' % (name.encode(), b",".join(_steps(rows))) for name, rows in parts.items()]
    return b"".join(pieces) + b"}"


def _steps(rows: list[dict[str, Any]]) -> Iterator[bytes]:
    for start in range(0, len(rows), _AT_ONCE):
        yield orjson.dumps([json_value(row) for row in rows[start : start + _AT_ONCE]])[1:-1]
