"""The feed routes: `GET /v1/feeds/<grant>` streams notices as server-sent events; versions and changes beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from broker_plane.bridge.admission import Admission
from broker_plane.bridge.audience import Audiences
from broker_plane.bridge.data import DataRoute
from broker_plane.bridge.events import HEARTBEAT, begin_events, ended, event, piece
from broker_plane.bridge.following import Event, Following, Numbered, asked_of, number, query_of, shown
from broker_plane.bridge.request import delivery_of, headers_of, json_object, read_body
from broker_plane.bridge.sending import send_json, send_json_text
from broker_plane.errors import WireError
from broker_plane.plane.feeds.access import GrantedFeeds, OpenFeed
from broker_plane.plane.feeds.changes import Changes
from broker_plane.tabular.json_values import json_value

_AT_ONCE = 1024
RETRY_MILLISECONDS = 1000
"""After which a browser connects again."""


class FeedRoute:
    """GET of a feed, its versions and its changes."""

    def __init__(self, feeds: GrantedFeeds, audiences: Audiences, following: Following, admission: Admission) -> None:
        self._feeds = feeds
        self._audiences = audiences
        self._following = following
        self._admission = admission

    async def open(self, grant: str, scope: Scope) -> OpenFeed:
        """The feed of `grant`. Raises as `GrantedFeeds.open`."""
        return await self._feeds.open(grant, self._audiences.who(headers_of(scope)), delivery_of(scope).connection)

    async def get(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream of notices where the client accepts one, else the list of those that are kept."""
        feed = await self.open(grant, scope)
        asked = asked_of(scope)
        if "text/event-stream" in headers_of(scope).get("accept", ""):
            delivery_of(scope).endless = True
            async with self._admission.streams.place(feed.opened.payer):
                await self._stream(feed, await self._following.begin(feed, grant, asked), receive, send)
            return
        async with self._admitted(feed):
            notices = await self._feeds.notices(feed)
            await send_json(send, 200, {"feed": feed.name, "versions": [shown(feed, notice) for notice in notices]})

    def _admitted(self, feed: OpenFeed) -> AbstractAsyncContextManager[None]:
        return self._admission.requests.place(feed.opened.payer)

    async def taken(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"durable", "id"}`: this event of the durable was taken, and the next one may come, on whichever bridge."""
        feed = await self.open(grant, scope)
        async with self._admitted(feed):
            fields = json_object(await read_body(scope, receive)) or {}
        names = [fields.pop(name, None) for name in ("durable", "id")]
        if fields or not all(isinstance(name, str) and name for name in names):
            raise WireError('The body is {"durable": "<its name>", "id": "<of the event>"}')
        durable, event_id = map(str, names)
        await self._following.taken(feed, grant, durable, event_id)
        await send_json(send, 200, {"status": "taken"})

    async def version(self, grant: str, version: str, data: DataRoute, scope: Scope, send: Send) -> None:
        """One version, as every body is got: formats, ranges, conditions, projection."""
        feed = await self.open(grant, scope)
        async with self._admitted(feed):
            notice = await self._feeds.version(feed, parse_version(version))
            await data.get_body(feed.opened, await self._feeds.body(feed, notice), scope, send)

    async def changes(self, grant: str, version: str, scope: Scope, send: Send) -> None:
        """`?since=n`: what changed since that version; `{"whole": true}` where the version itself is the way."""
        feed = await self.open(grant, scope)
        since = number(query_of(scope, "since").get("since", "0"), "since")
        async with self._admitted(feed):
            await self._changes(feed, version, since, send)

    async def _changes(self, feed: OpenFeed, version: str, since: int, send: Send) -> None:
        notice = await self._feeds.version(feed, parse_version(version))
        changes = await self._feeds.changes(feed, notice, since)
        fields: dict[str, Any] = {"feed": feed.name, "key": list(notice.key), "since": since, "version": notice.version}
        if changes is None:
            await send_json(send, 200, fields | {"whole": True})
            return
        raw = await self._feeds.account(feed).do(len(changes.delta), partial(_told, fields, changes))
        await send_json_text(send, 200, raw)

    async def _stream(self, feed: OpenFeed, notices: Numbered, receive: Receive, send: Send) -> None:
        async with aclosing(notices):
            await begin_events(send, RETRY_MILLISECONDS)
            leaving = asyncio.ensure_future(ended(receive, self._following.closing))
            try:
                async with aclosing(self._following.events(feed, notices, leaving)) as events:
                    async for told in events:
                        await send(piece(_lines(told)))
            finally:
                leaving.cancel()
            await send({"type": "http.response.body", "body": b""})


def parse_version(text: str) -> int | None:
    """The version in a path; None is the newest, `last`.

    Raises:
        WireError: it is neither.
    """
    return None if text == "last" else number(text, "The version")


def _lines(told: Event | None) -> bytes:
    return HEARTBEAT if told is None else event(told.kind, told.id, orjson.dumps(told.data))


def _told(fields: dict[str, Any], changes: Changes) -> bytes:
    """The changes as JSON, made in steps: C code lets nobody else run meanwhile."""
    parts = {"added": changes.added, "changed": changes.changed, "removed": changes.removed}
    gone = [
        {"key": [json_value(each) for each in value], "columns": names} for value, names in changes.delta.gone.items()
    ]
    parts |= {"gone": gone} if gone else {}
    told = [orjson.dumps(fields | {"whole": False})[:-1]]
    told += [b',"%s":[%s]' % (name.encode(), b",".join(_steps(rows))) for name, rows in parts.items()]
    return b"".join(told) + b"}"


def _steps(rows: list[dict[str, Any]]) -> Iterator[bytes]:
    for start in range(0, len(rows), _AT_ONCE):
        yield orjson.dumps([json_value(row) for row in rows[start : start + _AT_ONCE]])[1:-1]
