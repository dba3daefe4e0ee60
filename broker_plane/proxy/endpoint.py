"""The common part of both HTTP endpoints of the proxy: admission, reading a request, short answers, serving."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from broker_plane.errors import BrokerPlaneError
from broker_plane.proxy.messages import failed
from broker_plane.web.guard import Guard
from broker_plane.web.problems import status_of
from broker_plane.wire import json_rpc
from broker_plane.wire.exact_json import dumps

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MAX_REQUEST_BYTES = 16 << 20
SESSION_HEADER = b"mcp-session-id"

_GUARD = Guard(loopback_origins=True, guard_reads=True)


class ProxyApp(ABC):
    """An ASGI application. With `only_loopback` a foreign Host is refused (421), and a foreign Origin (403)."""

    def __init__(self, *, only_loopback: bool) -> None:
        self._only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self._only_loopback and (status := refusal_status(scope)):
            await answer(send, status, [], b"")
            return
        body = await body_of(receive)
        if body is None:
            await answer(send, 413, [], b"")
            return
        await self.handle(scope, body, receive, send)

    @abstractmethod
    async def handle(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer a request that was admitted and read."""


@asynccontextmanager
async def served(app: ProxyApp, host: str, port: int) -> AsyncIterator[str]:
    """Serve for the time of the block; yields the URL for clients.

    Raises:
        PortInUseError, ConfigError: the address cannot be served.
    """
    from broker_plane.web.server import HttpServer  # a proxy on standard streams needs no web server

    async with HttpServer(app, host, port, stop_seconds=1) as server:
        yield f"{server.url}/mcp"


def refusal_status(scope: Scope) -> int:
    """400, 421 or 403 if a page in a browser may have been made to send this request; 0 if it is fine."""
    try:
        _GUARD.check(scope)
    except BrokerPlaneError as error:
        return status_of(error)
    return 0


async def body_of(receive: Receive) -> bytes | None:
    """The request's body, or None if it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_REQUEST_BYTES:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(body)


async def answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = [] if status in (204, 304) else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, status: int, message: Any) -> None:
    await answer(send, status, [(b"content-type", b"application/json")], dumps(message))


async def answer_error(
    send: Send, status: int, key: Any, text: str, code: int = json_rpc.INTERNAL_ERROR, data: Any = None
) -> None:
    """Send a JSON-RPC error; `key` is the id of the request, None if it could not be read."""
    message = failed(key, text, code)
    if data is not None:
        message["error"]["data"] = data
    await answer_json(send, status, message)


def event_of(message: Any) -> bytes:
    """A message as a server-sent event."""
    return b"event: message\ndata: " + dumps(message) + b"\n\n"


async def while_connected(receive: Receive, send: Send, work: Callable[[Send], Coroutine[Any, Any, None]]) -> None:
    """Run `work` with a `send`, and cancel it if the client disconnects before its response is complete.

    That is how a request is cancelled (2026-07-28). A server also reports a disconnect once a response is complete:
    what is left to do then is done.
    """
    complete = False

    async def noted(message: MutableMapping[str, Any]) -> None:
        nonlocal complete
        complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        await send(message)

    forwarding = asyncio.ensure_future(work(noted))
    leaving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait([forwarding, leaving], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        forwarding.cancel()
        raise
    finally:
        leaving.cancel()
    if not complete:
        forwarding.cancel()
    with suppress(asyncio.CancelledError):
        await forwarding


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns a body once more, and then what follows it."""
    read = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
