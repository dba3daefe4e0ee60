"""Writes server-sent events (HTML, section 9.2). Pure, except for the head of the answer."""

from __future__ import annotations

from typing import Any

from starlette.types import Send

HEARTBEAT = b": still here\n\n"


async def begin_events(send: Send, retry_milliseconds: int) -> None:
    """Send the head of the answer, and the delay after which a disconnected client reconnects."""
    headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("x-content-type-options", "nosniff"),
    ]
    begin = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": 200, "headers": begin})
    await send(piece(b"retry: %d\n\n" % retry_milliseconds))


async def end_events(send: Send) -> None:
    """End the answer."""
    await send({"type": "http.response.body", "body": b""})


def event(kind: str, event_id: str, data: bytes) -> bytes:
    """One event; an empty `event_id` is left out. `data` is a single line."""
    line = f"id: {event_id}\n" if event_id else ""
    return f"{line}event: {kind}\ndata: ".encode() + data + b"\n\n"


def piece(raw: bytes) -> dict[str, Any]:
    """The ASGI message that sends `raw` in the middle of an answer."""
    return {"type": "http.response.body", "body": raw, "more_body": True}
