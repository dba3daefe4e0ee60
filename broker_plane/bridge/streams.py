"""The route of live streams: `GET /v1/streams/<grant>` as server-sent events, and as a WebSocket.

Events are sent a buffer at a time: after `buffer_size` of them the answer ends, and a client that reconnects with
`Last-Event-ID`, as every EventSource does, thereby acknowledges them. Over a WebSocket the reader acknowledges with
`{"after": n}`; at most `buffer_size` unacknowledged items are in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from broker_plane.bridge.access import RequestAccess, grant_of
from broker_plane.errors import BrokerPlaneError, SelectorError, WireError
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.streams.access import GrantedStreams
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.web.delivery import delivery_of
from broker_plane.web.heartbeats import HEARTBEAT_SECONDS, departure, items_or_heartbeats
from broker_plane.web.request import headers_of, whole_number
from broker_plane.web.sending import send_bytes
from broker_plane.web.sse import HEARTBEAT, begin_events, end_events, event, piece
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.streams import StreamInfo, StreamItem

_RETRY_MILLISECONDS = 10
"""The end of a buffer is no failure, so the client may reconnect at once."""

_CLOSED, _POLICY, _FAULT = 1000, 1008, 1011
_MOST_TEXT = 200
_CHECK_SECONDS = 1.0
"""How often a quiet stream checks whether its grant was revoked."""


class StreamRoute:
    """GET and the WebSocket of a stream."""

    def __init__(self, live: GrantedStreams, access: RequestAccess) -> None:
        self._live = live
        self._access = access

    async def get(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One buffer of events, after the item that `Last-Event-ID` or `?after=` acknowledges."""
        live, opened = await self._live.open(grant_of(scope), self._access.who(scope), delivery_of(scope).connection)
        async with self._access.admission.live.place(opened.payer):
            await self._get(live, opened, _after(scope), receive, send)

    async def _get(self, live: StreamInfo, opened: Opened, after: int, receive: Receive, send: Send) -> None:
        if await self._live.ack(live, after):
            # An EventSource does not reconnect after a 204 (HTML, section 9.2.3).
            await send_bytes(send, 204, [], b"")
            return
        await begin_events(send, _RETRY_MILLISECONDS)
        async with (
            departure(receive, self._access.closing) as leaving,
            aclosing(self._live.follow(live, after)) as items,
        ):
            await self._send_events(live, opened, items, leaving, send)
        await end_events(send)

    async def _send_events(
        self,
        live: StreamInfo,
        opened: Opened,
        items: AsyncGenerator[StreamItem, None],
        leaving: asyncio.Future[None],
        send: Send,
    ) -> None:
        sent, quiet = 0, 0.0
        try:
            async with aclosing(items_or_heartbeats(items, _CHECK_SECONDS, leaving)) as following:
                async for item in following:
                    await self._live.check(opened)
                    if item is not None:
                        await send(piece(_shown(live, item)))
                        sent, quiet = sent + 1, 0.0
                        if item.end or sent >= live.buffer_size:
                            return
                    elif (quiet := quiet + _CHECK_SECONDS) >= HEARTBEAT_SECONDS:
                        quiet = 0.0
                        await send(piece(HEARTBEAT))
        except BrokerPlaneError as error:
            fields = {"code": error.code, "error": str(error)}
            await send(piece(event("error", "", orjson.dumps(fields))))

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Items as text (`{"id": n, "data": row}`) or as binary (number in 8 bytes, then the chunk), to the end.

        Raises:
            BrokerPlaneError: the connection was not accepted.
        """
        live, opened = await self._live.open(grant_of(scope), self._access.who(scope))
        async with self._access.admission.live.place(opened.payer):
            await self._serve(live, opened, _after(scope), receive, send)

    async def _serve(self, live: StreamInfo, opened: Opened, after: int, receive: Receive, send: Send) -> None:
        over = await self._live.ack(live, after)
        await send({"type": "websocket.accept"})
        if over:
            await send({"type": "websocket.close", "code": _CLOSED})
            return
        reader = _Reader()
        tasks = [
            asyncio.ensure_future(self._hear(live, reader, receive)),
            asyncio.ensure_future(self._push(live, opened, reader, after, send)),
            asyncio.ensure_future(self._access.closing.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not reader.left:
                code, reason = _reason_of(done)
                with suppress(RuntimeError, OSError):  # it is leaving at this moment
                    await send({"type": "websocket.close", "code": code, "reason": reason})
        finally:
            for task in tasks:
                await cancel_and_forget(task)

    async def _hear(self, live: StreamInfo, reader: _Reader, receive: Receive) -> None:
        """Process the reader's acknowledgements until it leaves or has acknowledged the end."""
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                reader.left = True
                return
            number = _acknowledged(message.get("text") or "")
            await self._live.ack(live, number)
            if reader.end is not None and number >= reader.end:
                return

    async def _push(self, live: StreamInfo, opened: Opened, reader: _Reader, after: int, send: Send) -> None:
        async with aclosing(self._live.follow(live, after)) as items:
            async for item in items:
                await self._live.check(opened)
                if item.end:
                    reader.end = item.number
                    await send({"type": "websocket.send", "text": live.end_signal})
                elif live.kind == "rows":
                    await send({"type": "websocket.send", "text": item.to_json(live).decode()})
                else:
                    await send({"type": "websocket.send", "bytes": item.number.to_bytes(8, "big") + item.data})
        await asyncio.Event().wait()  # the end is sent; the reader acknowledges it, or leaves


@dataclass(slots=True)
class _Reader:
    """The other side of a WebSocket: whether it has left, and the number of the end that was sent to it.

    The stream itself limits the items in flight to `buffer_size`: it holds no more.
    """

    left: bool = False
    end: int | None = None


def _reason_of(done: Iterable[asyncio.Future[Any]]) -> tuple[int, str]:
    """The code and reason with which a WebSocket closes after these tasks have ended."""
    code, reason = _CLOSED, ""
    for task in done:
        error = task.exception()
        if isinstance(error, BrokerPlaneError):
            code, reason = _POLICY, error.code
        elif error is not None:
            code, reason = _FAULT, "fault"
    return code, reason


def _shown(live: StreamInfo, item: StreamItem) -> bytes:
    if item.end:
        return event("end", str(item.number), live.end_signal.encode())
    return event("item", str(item.number), item.to_json(live))


def _after(scope: Scope) -> int:
    """The number of the last item that the client has. Raises SelectorError, WireError."""
    headers = headers_of(scope)
    if "last-event-id" in headers:
        return whole_number(headers["last-event-id"], "Last-Event-ID")
    query = scope["query_string"].decode("latin-1")
    if not query:
        return 0
    name, _, value = query.partition("=")
    if name != "after":
        raise SelectorError("The query may contain after, once: ?after=7")
    return whole_number(value, "after")


def _acknowledged(text: str) -> int:
    """The number in `{"after": n}`.

    Raises:
        WireError: the text is something else.
    """
    with suppress(*MALFORMED):
        fields = loads(text) if len(text) < _MOST_TEXT else None
        if isinstance(fields, dict) and type(fields.get("after")) is int and fields["after"] >= 0:
            number: int = fields["after"]
            return number
    raise WireError('A reader may only send {"after": n}, the number of the last item that it has processed')
