"""Sends a body as an answer: its first bytes are ready before its status is sent, so most errors have a status."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from starlette.types import Send

from broker_plane.plane.bodies.blocks import PIECE_BYTES
from broker_plane.plane.bodies.shown import ALL_SHOWN, Shown
from broker_plane.web.delivery import Delivery, Outcome
from broker_plane.web.sending import Headers, send_start

BUFFERED_BYTES = 1 << 20
"""A generated view of up to this size is sent with its Content-Length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A body, or a part or view of it. `size` is in bytes, and None for a view that is not generated yet."""

    status: int
    headers: Headers
    pieces: AsyncGenerator[bytes, None]
    size: int | None
    shown: Shown = ALL_SHOWN
    """The part of the body that the answer shows."""
    share: float = 1.0
    """The fraction of the body that these bytes are: less than 1 for a range."""
    ends_body: bool = True
    """Whether the body's last byte is included. Only then can a delivery complete and spend a use."""
    progress: Callable[[], float] = lambda: 1.0
    """For a view without a size: the fraction (0 to 1) generated so far, which may have been sent."""
    late_headers: Callable[[], Headers] = list
    """Headers that are known once a view is generated; a view above BUFFERED_BYTES is sent without them."""


async def pour(send: Send, delivery: Delivery, answer: Answer, first: Awaitable[bytes] | None = None) -> None:
    """Send `answer` at the pace of its reader; stop if the reader has left.

    `first` are its first bytes, if they are being read already; `answer` has the others.

    Raises:
        BrokerPlaneError: before anything was sent if possible, else in the middle of the answer.
    """
    async with aclosing(answer.pieces) as source:
        held, size = await _begun(source, answer.size, first)
        length = [] if size is None else [("content-length", str(size))]
        delivery.started = True
        await send_start(send, answer.status, [*answer.headers, *answer.late_headers(), *length])
        sent = 0
        while True:
            while held:
                for part in _parts(held.pop(0)):  # not kept: a slow reader's answer would hold its first piece
                    if delivery.decided is Outcome.BROKEN:
                        return
                    sent += len(part)
                    await send({"type": "http.response.body", "body": part, "more_body": sent != size})
                    delivery.sent(len(part), answer.share * (sent / size if size else answer.progress()))
            piece = await anext(source, None)
            if piece is None:
                break
            held.append(piece)
            del piece
        if not size:
            await send({"type": "http.response.body", "body": b""})
            delivery.sent(0, answer.share)


async def _begun(
    source: AsyncGenerator[bytes, None], size: int | None, first: Awaitable[bytes] | None
) -> tuple[list[bytes], int | None]:
    """The first pieces, so that an immediate failure is an error and not a broken answer, and the size.

    A view is generated up to BUFFERED_BYTES; a small one has its size then.
    """
    if size is not None:
        return [await (anext(source, b"") if first is None else first)], size
    held: list[bytes] = []
    made = 0
    async for piece in source:
        held.append(piece)
        made += len(piece)
        if made > BUFFERED_BYTES:
            return held, None
    return [b"".join(held)], made


def _parts(piece: bytes) -> Iterable[bytes]:
    """Non-empty parts of a piece, small enough that the reader's pace is felt."""
    if 0 < len(piece) <= PIECE_BYTES:
        return (piece,)
    return (piece[begin : begin + PIECE_BYTES] for begin in range(0, len(piece), PIECE_BYTES))
