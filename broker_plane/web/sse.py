"""Server-sent events: the head, an event, and the moment at which there is nobody to send more to."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Send

HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": still here\n\n"


async def begin_events(send: Send, retry_milliseconds: int) -> None:
    """The head of the answer, and after which time a client that was cut off comes again."""
    headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("x-content-type-options", "nosniff"),
    ]
    begin = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": 200, "headers": begin})
    await send(piece(b"retry: %d\n\n" % retry_milliseconds))


def event(kind: str, number: str, data: bytes) -> bytes:
    """One event; `number` is its id, empty where it has none. `data` is one line."""
    line = f"id: {number}\n" if number else ""
    return f"{line}event: {kind}\ndata: ".encode() + data + b"\n\n"


def piece(raw: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": raw, "more_body": True}


async def ended(receive: Receive, closing: asyncio.Event) -> None:
    """Return once the client has left, or the bridge is about to."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    ends = [asyncio.ensure_future(left()), asyncio.ensure_future(closing.wait())]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
