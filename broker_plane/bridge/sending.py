"""Sending one answer: its first bytes are there before its status is said, and its end is seen as what it was."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.types import Send

from broker_plane.bridge.delivery import Delivery, Outcome
from broker_plane.plane.bodies.blocks import PIECE_BYTES
from broker_plane.plane.bodies.shown import ALL_SHOWN, Shown
from broker_plane.tabular.json_values import json_bytes

BUFFERED_BYTES = 1 << 20
"""A generated view up to this is sent with its Content-Length."""

_PART_BYTES = PIECE_BYTES

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes out. `size` is None for a view, whose bytes are not made yet."""

    status: int
    headers: Headers
    pieces: AsyncGenerator[bytes, None]
    size: int | None
    shown: Shown = ALL_SHOWN
    """What of the body it shows."""
    share: float = 1.0
    """The part of the body that these bytes are: less than all for a range."""
    ends_body: bool = True
    """Whether the body's last byte is among them; only then has its reader all of it, and a use is spent."""
    progress: Callable[[], float] = lambda: 1.0
    """Of a view whose size is not known: the part of it (0 to 1) that is made so far, and so may have left."""
    late_headers: Callable[[], Headers] = list
    """Headers that are known when a view is made; a view too large to wait for goes out without them."""


async def pour(send: Send, delivery: Delivery, answer: Answer) -> None:
    """Send `answer`, at the pace of its reader; stops where the reader is gone.

    Raises:
        BrokerPlaneError: before anything was sent where that can be, else in the middle of the answer.
    """
    async with aclosing(answer.pieces) as source:
        pieces, size = await _begun(source, answer.size)
        length = [] if size is None else [("content-length", str(size))]
        await send(_start(answer.status, [*answer.headers, *answer.late_headers(), *length]))
        sent = 0
        async for part in _parts(pieces):
            if delivery.decided is Outcome.BROKEN:
                return
            sent += len(part)
            await send({"type": "http.response.body", "body": part, "more_body": sent != size})
            delivery.hand(len(part), answer.share * (sent / size if size else answer.progress()))
        if not size:
            await send({"type": "http.response.body", "body": b""})
            delivery.hand(0, answer.share)


async def send_bytes(send: Send, status: int, headers: Sequence[tuple[str, str]], raw: bytes) -> None:
    await send(_start(status, headers))
    await send({"type": "http.response.body", "body": raw})


async def send_json(send: Send, status: int, fields: Any, more: Sequence[tuple[str, str]] = ()) -> None:
    await send_json_text(send, status, json_bytes(fields), more)


async def send_json_text(send: Send, status: int, raw: bytes, more: Sequence[tuple[str, str]] = ()) -> None:
    """As `send_json`, of a JSON text."""
    headers = [("content-type", "application/json"), ("content-length", str(len(raw))), ("cache-control", "no-store")]
    headers += [field for field in more if field[0] != "cache-control"]
    if status == 503:
        headers.append(("retry-after", "1"))
    await send_bytes(send, status, headers, raw)


async def _begun(
    source: AsyncGenerator[bytes, None], size: int | None
) -> tuple[AsyncGenerator[bytes, None], int | None]:
    """The same pieces with the first of them here, so that what fails at once is an error and no broken answer.

    A view is made up to BUFFERED_BYTES; a small one has its size then.
    """
    held: list[bytes] = []
    made = 0
    async for piece in source:
        held.append(piece)
        made += len(piece)
        if size is not None or made > BUFFERED_BYTES:
            return _resumed(held, source), size
    return _resumed([b"".join(held)], source), made if size is None else size


async def _resumed(held: list[bytes], rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    while held:
        yield held.pop(0)  # not kept: a slow reader's answer would hold its first piece to its end
    async for piece in rest:
        yield piece


async def _parts(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Pieces small enough that the reader's pace is felt, and none that is empty."""
    async for piece in pieces:
        if 0 < len(piece) <= _PART_BYTES:
            yield piece
            continue
        for begin in range(0, len(piece), _PART_BYTES):
            yield piece[begin : begin + _PART_BYTES]


def _start(status: int, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": raw}
