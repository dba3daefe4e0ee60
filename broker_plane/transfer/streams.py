"""One body as messages in sequence: what sse, ws, wss and mqtt share, and the handler of sse.

The body is the messages' bytes in order; if the descriptor's member `encoding` is `base64`, each message is a piece in
base64. `stream.end_signal` is the text of the message after the last one; without it the body ends with the response,
or with a close of code 1000. Size and checksum decide whether the body is complete.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from broker_plane.errors import (
    TransferError,
    TransferInterruptedError,
)
from broker_plane.transfer.allowance import MAX_MESSAGE_BYTES, Allowance
from broker_plane.transfer.http import http_source
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.sse import TOO_LONG, EventSplitter, field_of, lines_of

SILENCE_SECONDS = 30.0
_EMPTY_BYTES = 128
"""The charge to the allowance for a message without a byte of the body."""


async def sse_source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
    """The data of server-sent events (WHATWG HTML, section 9.2)."""
    request = descriptor.model_copy(update={"format": "text/event-stream", "compression": None, "checksum": None})
    async with (
        aclosing(http_source(request, reach, allowance.unannounced())) as pieces,
        aclosing(until_end(_event_data(pieces, allowance), descriptor, allowance)) as messages,
    ):
        async for message in messages:
            yield message


async def until_end(
    messages: AsyncIterator[bytes], descriptor: Descriptor, allowance: Allowance
) -> AsyncGenerator[bytes, None]:
    """The body's pieces: the decoded messages before the end signal.

    Raises:
        TransferError: a message is not base64, as the descriptor says it is.
        TransferInterruptedError: the messages ended without the end signal.
    """
    signal = descriptor.stream.end_signal if descriptor.stream else None
    encoded = (descriptor.model_extra or {}).get("encoding") == "base64"
    async for message in messages:
        if signal is not None and message == signal.encode():
            return
        try:
            piece = b64decode(message, validate=True) if encoded else message
        except ValueError as error:
            raise TransferError("A message is not base64, although the descriptor says so") from error
        if piece:
            allowance.gain()
            yield piece
        else:
            allowance.spend(_EMPTY_BYTES)
    if signal is not None:
        raise TransferInterruptedError("The messages ended before the end signal")


async def events_of(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The raw events of a response.

    Raises:
        TransferError: an event is too long.
    """
    splitter = EventSplitter(MAX_MESSAGE_BYTES)
    async for piece in pieces:
        for event in splitter.feed(piece):
            if event is TOO_LONG:
                raise TransferError(f"An event has more than {MAX_MESSAGE_BYTES} bytes")
            yield event


async def _event_data(pieces: AsyncGenerator[bytes, None], allowance: Allowance) -> AsyncIterator[bytes]:
    """The data of each event; everything else is charged to the allowance."""
    async with aclosing(events_of(pieces)) as events:
        async for event in events:
            data = field_of(event, b"data")
            allowance.spend(sum(len(line) for line in lines_of(event) if not line.startswith(b"data")))
            if data is None:
                allowance.spend(_EMPTY_BYTES)
            else:
                yield data
