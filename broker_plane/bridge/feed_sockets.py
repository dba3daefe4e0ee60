"""`GET /v1/feeds/<grant>` with an upgrade to WebSocket (RFC 6455): the events of the stream, one JSON text each.

    {"event": "notice", "id": "57", "data": {…}}        to the client
    {"event": "end", "data": {"code": …, "error": …}}   the last one, when the grant has ended
    {"taken": "1.57.3.1700000000000000000.0"}           from a client with a durable: acknowledges this event

Quiet connections are kept open by pings, which clients answer by themselves.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing, suppress
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from broker_plane.bridge.access import RequestAccess, grant_of
from broker_plane.bridge.feed_events import Event, FeedEvents, Start, start_of
from broker_plane.errors import BrokerPlaneError, WireError
from broker_plane.plane.feeds.access import GrantedFeeds, OpenFeed
from broker_plane.web.heartbeats import first_of
from broker_plane.web.problems import status_of
from broker_plane.wire.exact_json import MALFORMED, loads

CLOSE_RESTART = 1012
"""The bridge stops; the client reconnects, to another one."""

CLOSE_OURS = 4000
"""Plus the HTTP status of the error that ended the subscription: 4410 is a grant that has ended (RFC 6455, 7.4.2)."""

_MOST_REASON = 120


class FeedSockets:
    """Subscriptions over WebSocket."""

    def __init__(self, feeds: GrantedFeeds, events: FeedEvents, access: RequestAccess) -> None:
        self._feeds = feeds
        self._events = events
        self._access = access

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept, send events, and close.

        Raises:
            BrokerPlaneError: the connection was not accepted.
        """
        grant = grant_of(scope)
        feed = await self._feeds.open(grant, self._access.who(scope), f"socket-{secrets.token_hex(8)}")
        start = start_of(scope)
        async with self._access.admission.streams.place(feed.opened.payer):
            await self._serve(feed, grant, start, receive, send)

    async def _serve(self, feed: OpenFeed, grant: str, start: Start, receive: Receive, send: Send) -> None:
        notices = await self._events.begin(feed, grant, start)
        async with aclosing(notices):
            await send({"type": "websocket.accept"})
            hearing = asyncio.ensure_future(self._hear(feed, grant, start, receive))
            closing = asyncio.ensure_future(self._access.closing.wait())
            async with first_of(hearing, closing) as leaving:
                ended: Event | None = None
                async with aclosing(self._events.follow(feed, notices, leaving)) as events:
                    async for event in events:
                        if event is not None:
                            await send({"type": "websocket.send", "text": _text(event)})
                            ended = event if event.kind == "end" else None
                await _close(send, ended, hearing)

    async def _hear(self, feed: OpenFeed, grant: str, start: Start, receive: Receive) -> BrokerPlaneError | None:
        """Acknowledge the client's events until it leaves (None) or sends something invalid (the error)."""
        while (message := await receive())["type"] != "websocket.disconnect":
            try:
                if not start.durable:
                    raise WireError("A client without ?durable= has nothing to acknowledge, so it must not send")
                await self._events.ack(feed, grant, start.durable, _acknowledged(message))
            except BrokerPlaneError as error:
                return error
        return None


async def _close(send: Send, ended: Event | None, hearing: asyncio.Future[BrokerPlaneError | None]) -> None:
    error = hearing.result() if hearing.done() else None
    if error is not None:
        await send(_closed(CLOSE_OURS + status_of(error), str(error)))
    elif ended is not None:
        await send(_closed(CLOSE_OURS + ended.data["status"], ended.data["error"]))
    elif not hearing.done():
        await send(_closed(CLOSE_RESTART, ""))


def _closed(code: int, reason: str) -> dict[str, Any]:
    return {"type": "websocket.close", "code": code, "reason": reason[:_MOST_REASON]}


def _text(event: Event) -> str:
    position = {"id": event.id} if event.id else {}
    return orjson.dumps({"event": event.kind, **position, "data": event.data}).decode()


def _acknowledged(message: Any) -> str:
    """The id in `{"taken": id}`. Raises WireError."""
    with suppress(*MALFORMED):
        fields = loads(message.get("text") or message.get("bytes") or b"")
        if isinstance(fields, dict) and fields.keys() == {"taken"} and isinstance(fields["taken"], str):
            return str(fields["taken"])
    raise WireError('A client may only send {"taken": "<id of an event>"}')
