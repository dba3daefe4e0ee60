"""The routes of live streams: `GET /v1/streams/<grant>` as server-sent events, and as a WebSocket.

Events come a buffer at a time: after `buffer_size` of them the answer ends, and the client that comes again with
`Last-Event-ID`, as every EventSource does, has thereby taken them. Over a WebSocket the reader says `{"after": n}`, and
never more than `buffer_size` items are on their way that it has not taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from broker_plane.bridge.admission import Admission
from broker_plane.bridge.audience import Audiences
from broker_plane.bridge.events import HEARTBEAT, HEARTBEAT_SECONDS, begin_events, ended, event, piece
from broker_plane.bridge.following import number
from broker_plane.bridge.request import delivery_of, headers_of
from broker_plane.bridge.sending import send_bytes
from broker_plane.errors import BrokerPlaneError, SelectorError, WireError
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.streams.access import GrantedStreams
from broker_plane.plane.tasks import abandoned
from broker_plane.wire.streams import StreamInfo, StreamItem

_RETRY_MILLISECONDS = 10
"""The end of a buffer is no trouble; who comes again is let in at once."""

_CLOSED, _POLICY, _FAULT = 1000, 1008, 1011
_MOST_WORD = 200
_WAIT_SECONDS = 1.0
"""A grant that is revoked meanwhile is noticed so soon on a stream on which nothing comes."""


class StreamRoute:
    """GET and the WebSocket of a stream."""

    def __init__(
        self, live: GrantedStreams, audiences: Audiences, closing: asyncio.Event, admission: Admission
    ) -> None:
        self._admission = admission
        self._live = live
        self._audiences = audiences
        self._closing = closing

    async def get(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One buffer of events, after what `Last-Event-ID` or `?after=` says that the client has taken."""
        headers = headers_of(scope)
        who = self._audiences.who(headers)
        live, opened = await self._live.open(grant, who, delivery_of(scope).connection)
        async with self._admission.live.place(opened.payer):
            await self._get(live, opened, _after(scope, headers), receive, send)

    async def _get(self, live: StreamInfo, opened: Opened, after: int, receive: Receive, send: Send) -> None:
        if await self._live.ack(live, after):
            # An EventSource that is told 204 does not come again (HTML, section 9.2.3).
            await send_bytes(send, 204, [], b"")
            return
        await begin_events(send, _RETRY_MILLISECONDS)
        leaving = asyncio.ensure_future(ended(receive, self._closing))
        try:
            async with aclosing(self._live.follow(live, after)) as items:
                await self._events(live, opened, items, leaving, send)
        finally:
            leaving.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _events(
        self,
        live: StreamInfo,
        opened: Opened,
        items: AsyncGenerator[StreamItem, None],
        leaving: asyncio.Future[None],
        send: Send,
    ) -> None:
        sent, quiet = 0, 0.0
        coming = asyncio.ensure_future(anext(items, None))
        try:
            while sent < live.buffer_size and not leaving.done():
                waiting: set[asyncio.Future[Any]] = {coming, leaving}
                await asyncio.wait(waiting, timeout=_WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                try:
                    await self._live.check(opened)
                    item = coming.result() if coming.done() else None
                except BrokerPlaneError as error:
                    fields = {"code": error.code, "error": str(error)}
                    await send(piece(event("error", "", orjson.dumps(fields))))
                    return
                if item is not None:
                    await send(piece(_shown(live, item)))
                    sent, quiet = sent + 1, 0.0
                    if item.end:
                        return
                    coming = asyncio.ensure_future(anext(items, None))
                elif (quiet := quiet + _WAIT_SECONDS) >= HEARTBEAT_SECONDS:
                    quiet = 0.0
                    await send(piece(HEARTBEAT))
        finally:
            await abandoned(coming)

    async def socket(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Items as text (`{"id": n, "data": row}`) or as binary (8 bytes of number, then the chunk), to the end.

        Raises:
            BrokerPlaneError: it was not accepted.
        """
        headers = headers_of(scope)
        live, opened = await self._live.open(grant, self._audiences.who(headers))
        async with self._admission.live.place(opened.payer):
            await self._socket(live, opened, _after(scope, headers), receive, send)

    async def _socket(self, live: StreamInfo, opened: Opened, after: int, receive: Receive, send: Send) -> None:
        over = await self._live.ack(live, after)
        await send({"type": "websocket.accept"})
        if over:
            await send({"type": "websocket.close", "code": _CLOSED})
            return
        reader = _Reader()
        tasks = [
            asyncio.ensure_future(self._words(live, reader, receive)),
            asyncio.ensure_future(self._push(live, opened, reader, after, send)),
            asyncio.ensure_future(self._closing.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            code, reason = _CLOSED, ""
            for task in done:
                failed = task.exception()
                if isinstance(failed, BrokerPlaneError):
                    code, reason = _POLICY, failed.code
                elif failed is not None:
                    code, reason = _FAULT, "fault"
            if not reader.left:
                with suppress(RuntimeError, OSError):  # it has left in this moment
                    await send({"type": "websocket.close", "code": code, "reason": reason})
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _words(self, live: StreamInfo, reader: _Reader, receive: Receive) -> None:
        """What the reader says, until it leaves or has taken the end."""
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                reader.left = True
                return
            number = _word(message.get("text") or "")
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
        await asyncio.Event().wait()  # the end is sent; the reader takes it, or leaves


@dataclass(slots=True)
class _Reader:
    """What is known of the other side of a WebSocket: whether it has left, and the number of the end that it was sent.

    That never more than `buffer_size` items are on their way to it, the stream itself sees to: it holds no more.
    """

    left: bool = False
    end: int | None = None


def _shown(live: StreamInfo, item: StreamItem) -> bytes:
    if item.end:
        return event("end", str(item.number), live.end_signal.encode())
    return event("item", str(item.number), item.to_json(live))


def _after(scope: Scope, headers: dict[str, str]) -> int:
    if "last-event-id" in headers:
        return number(headers["last-event-id"], "Last-Event-ID")
    query = scope["query_string"].decode("latin-1")
    if not query:
        return 0
    name, _, value = query.partition("=")
    if name != "after":
        raise SelectorError("The query takes after, once: ?after=7")
    return number(value, "after")


def _word(text: str) -> int:
    """The number in `{"after": n}`.

    Raises:
        WireError: it is something else.
    """
    with suppress(orjson.JSONDecodeError):
        fields = orjson.loads(text) if len(text) < _MOST_WORD else None
        if isinstance(fields, dict) and type(fields.get("after")) is int and fields["after"] >= 0:
            number: int = fields["after"]
            return number
    raise WireError('A reader says {"after": n}, the number of the last item that it has taken')
