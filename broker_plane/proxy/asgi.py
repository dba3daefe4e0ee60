"""What every HTTP endpoint of the proxy does: whom it refuses, how it reads a request and gives a short answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import Any

from broker_plane.errors import BrokerPlaneError
from broker_plane.web.guard import Guard
from broker_plane.web.problems import status_of
from broker_plane.wire.exact_json import dumps

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MOST_REQUEST_BYTES = 16 << 20


_GUARD = Guard(loopback_origins=True, guard_reads=True)


def foreign(scope: Scope) -> int:
    """400, 421 or 403 where a page in a browser may have been made to talk to this port; 0 is fine."""
    try:
        _GUARD.check(scope)
    except BrokerPlaneError as error:
        return status_of(error)
    return 0


async def body_of(receive: Receive) -> bytes | None:
    """The request's body, or None where it is too large."""
    raw = bytearray()
    while True:
        message = await receive()
        raw += message.get("body", b"")
        if len(raw) > MOST_REQUEST_BYTES:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(raw)


async def admitted(scope: Scope, receive: Receive, send: Send, *, only_loopback: bool) -> bytes | None:
    """The request's body; None where the request was refused, as foreign or too large."""
    if only_loopback and (status := foreign(scope)):
        await answer(send, status, [], b"")
        return None
    raw = await body_of(receive)
    if raw is None:
        await answer(send, 413, [], b"")
    return raw


async def answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = [] if status in (204, 304) else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """A client that goes away is how a request is cancelled (2026-07-28): the upstream's connection ends too."""
    forwarding = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait([forwarding, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not forwarding.done():
            forwarding.cancel()
    with suppress(asyncio.CancelledError):
        await forwarding


async def answer_json(send: Send, status: int, message: Any) -> None:
    await answer(send, status, [(b"content-type", b"application/json")], dumps(message))


async def answer_error(send: Send, status: int, key: Any, code: int, said: str, data: Any = None) -> None:
    """A JSON-RPC error; `key` is the id of the request, None where there was none to be read."""
    error = {"code": code, "message": said} | ({} if data is None else {"data": data})
    await answer_json(send, status, {"jsonrpc": "2.0", "id": key, "error": error})


def replayed(raw: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body once more, and then what comes after it."""
    read = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": raw, "more_body": False}

    return again
