"""Sends short answers: bytes, texts, JSON and problem details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import Send

from broker_plane.tabular.json_values import json_bytes

Headers = list[tuple[str, str]]


async def send_start(send: Send, status: int, headers: Sequence[tuple[str, str]]) -> None:
    """Send the head of an answer."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def send_bytes(send: Send, status: int, headers: Sequence[tuple[str, str]], raw: bytes) -> None:
    """Send a whole answer."""
    await send_start(send, status, headers)
    await send({"type": "http.response.body", "body": raw})


async def send_text(send: Send, media_type: str, text: bytes) -> None:
    """Send `text` with status 200."""
    await send_bytes(send, 200, [("content-type", media_type), ("content-length", str(len(text)))], text)


async def send_json(send: Send, status: int, fields: Any, headers: Sequence[tuple[str, str]] = ()) -> None:
    """Send `fields` as JSON. An answer with status 503 asks the client to retry after a second."""
    await send_json_text(send, status, json_bytes(fields), headers)


async def send_json_text(send: Send, status: int, raw: bytes, headers: Sequence[tuple[str, str]] = ()) -> None:
    """Like `send_json`, for a JSON text."""
    fields = [("content-type", "application/json"), ("content-length", str(len(raw))), ("cache-control", "no-store")]
    fields += [field for field in headers if field[0] != "cache-control"]
    if status == 503:
        fields.append(("retry-after", "1"))
    await send_bytes(send, status, fields, raw)
