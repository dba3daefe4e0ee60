"""`GET /v1/feeds/<grant>` with an upgrade to WebSocket (RFC 6455): the events of the stream, one JSON text each.

    {"event": "notice", "id": "57", "data": {…}}        to the client
    {"event": "end", "data": {"code": …, "error": …}}   the last one, where the grant is over
    {"taken": "1.57.3.1700000000000000000.0"}           from a client that named a durable: the next one may come

Quiet connections are kept by pings, which clients answer by themselves.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from broker_plane.bridge.admission import Admission
from broker_plane.bridge.audience import Audiences
from broker_plane.bridge.feed_events import Asked, Event, Following, asked_of
from broker_plane.web.problems import status_of
from broker_plane.web.request import headers_of
from broker_plane.errors import BrokerPlaneError, WireError
from broker_plane.plane.feeds.access import GrantedFeeds, OpenFeed

CLOSE_RESTART = 1012
"""The bridge ends; the client comes again, to another one."""

CLOSE_OURS = 4000
"""To which the HTTP status of what ended it is added: 4410 is a grant that is over (RFC 6455, section 7.4.2)."""

_MOST_REASON = 120


class FeedSockets:
    """Subscriptions over WebSocket."""

    def __init__(self, feeds: GrantedFeeds, audiences: Audiences, following: Following, admission: Admission) -> None:
        self._feeds = feeds
        self._audiences = audiences
        self._following = following
        self._admission = admission
        self._opened = 0

    async def serve(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept, tell, and close.

        Raises:
            BrokerPlaneError: it was not accepted.
        """
        self._opened += 1
        feed = await self._feeds.open(grant, self._audiences.who(headers_of(scope)), f"socket-{self._opened}")
        asked = asked_of(scope)
        async with self._admission.streams.place(feed.opened.payer):
            await self._serve(feed, grant, asked, receive, send)

    async def _serve(self, feed: OpenFeed, grant: str, asked: Asked, receive: Receive, send: Send) -> None:
        notices = await self._following.begin(feed, grant, asked)
        async with aclosing(notices):
            await send({"type": "websocket.accept"})
            hearing = asyncio.ensure_future(self._hear(feed, grant, asked, receive))
            closing = asyncio.ensure_future(self._following.closing.wait())
            leaving = asyncio.ensure_future(_first(hearing, closing))
            try:
                ended: Event | None = None
                async with aclosing(self._following.events(feed, notices, leaving)) as events:
                    async for event in events:
                        if event is not None:
                            await send({"type": "websocket.send", "text": _text(event)})
                            ended = event if event.kind == "end" else None
                await _close(send, ended, hearing)
            finally:
                for task in (leaving, hearing, closing):
                    task.cancel()
                await asyncio.gather(leaving, hearing, closing, return_exceptions=True)

    async def _hear(self, feed: OpenFeed, grant: str, asked: Asked, receive: Receive) -> BrokerPlaneError | None:
        """What the client said wrong; None where it has left."""
        while (message := await receive())["type"] != "websocket.disconnect":
            try:
                if not asked.durable:
                    raise WireError("Without ?durable= there is nothing to be said here")
                await self._following.taken(feed, grant, asked.durable, _taken(message))
            except BrokerPlaneError as error:
                return error
        return None


async def _first(*tasks: asyncio.Future[Any]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


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
    place = {"id": event.id} if event.id else {}
    return orjson.dumps({"event": event.kind, **place, "data": event.data}).decode()


def _taken(message: Any) -> str:
    try:
        fields = orjson.loads(message.get("text") or message.get("bytes") or b"")
        if isinstance(fields, dict) and fields.keys() == {"taken"} and isinstance(fields["taken"], str):
            return str(fields["taken"])
    except orjson.JSONDecodeError:
        pass
    raise WireError('A client says {"taken": "<id of an event>"}, and nothing else')
