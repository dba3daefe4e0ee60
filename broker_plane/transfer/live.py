"""Reads a live stream by descriptor (docs/transfers.md): numbered items over sse and ws, each exactly once.

Requesting the next item acknowledges this one. Over sse the acknowledgement is a reconnection with the item's number,
over ws a message; a reader that was interrupted continues with the number it had last.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2

from broker_plane.client.answers import refusal_of
from broker_plane.client.capped import ShortResponse
from broker_plane.errors import (
    BodyNotFoundError,
    BrokerPlaneError,
    TransferError,
    TransferInterruptedError,
)
from broker_plane.transfer.http import requested
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.streams import events_of
from broker_plane.transfer.websocket import NORMAL_CLOSURE, websocket
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.presigned_errors import error_of_fields
from broker_plane.wire.sse import field_of
from broker_plane.wire.streams import END_SIGNAL

_UNAVAILABLE_SECONDS = 60.0
_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0
_NO_CONTENT = 204
_OURS = (b"item", b"end", b"error")
_MAX_IDLE_BYTES = 1 << 20
"""Maximum number of bytes between two items. An idle bridge sends a heartbeat of 7 bytes every few seconds."""


Item = tuple[int, Any]
"""(number, row or chunk)"""


@dataclass(slots=True)
class _Position:
    """The reader's progress: `after` is the number of the last item, or of the end once it was received (`ended`)."""

    after: int
    ended: bool = False
    closed: bool = False


async def follow(descriptor: Descriptor, reach: Reach, after: int) -> AsyncGenerator[Item, None]:
    """The items after `after` as they arrive, to the end.

    Raises:
        GrantError, BodyNotFoundError, UntrustedHostError. LeaseLostError: the items after `after` were deleted.
        TransferInterruptedError: the bridge was unavailable for a minute, or the connection broke and `reconnect` is
        false.
    """
    position = _Position(after)
    reconnects = descriptor.stream is None or descriptor.stream.reconnect is not False
    connection = _events if descriptor.protocol == "sse" else _messages
    since, wait = anyio.current_time(), _FIRST_WAIT_SECONDS
    while not position.closed:
        try:
            async with aclosing(connection(descriptor, reach, position)) as items:
                async for number, data in items:
                    yield number, data
                    position.after = number
                    since, wait = anyio.current_time(), _FIRST_WAIT_SECONDS
        except BodyNotFoundError:
            if not position.ended:
                raise
            return  # the end was acknowledged; only the confirmation was lost
        except BrokerPlaneError as error:
            if not error.retryable or not reconnects or anyio.current_time() > since + _UNAVAILABLE_SECONDS:
                raise
            await anyio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


async def _events(descriptor: Descriptor, reach: Reach, position: _Position) -> AsyncGenerator[Item, None]:
    """The items of one response."""
    headers = {"accept": "text/event-stream", **({"last-event-id": str(position.after)} if position.after else {})}
    try:
        async with requested(descriptor, reach, "GET", headers) as answer:
            if answer.status_code == _NO_CONTENT:
                position.closed = position.ended = True
                return
            async with aclosing(_items(answer, position)) as items:
                async for item in items:
                    yield item
    except httpx2.TransportError as error:
        raise TransferInterruptedError("The bridge closed the connection; try again", reason=repr(error)) from error
    except (*MALFORMED, ValueError, KeyError, AttributeError, TypeError) as error:
        raise TransferError("The response is not a live stream", reason=repr(error)) from error


async def _items(answer: httpx2.Response, position: _Position) -> AsyncGenerator[Item, None]:
    async with aclosing(_named(answer)) as events:
        async for kind, number, data in events:
            if (item := _item_of(kind, number, data, position)) is not None:
                yield item


def _item_of(kind: str, number: int, data: bytes, position: _Position) -> Item | None:
    """The item of an event; None if it has none. Raises the error that an event of that kind names."""
    if kind == "item":
        return number, _decoded(loads(data)["data"])
    if kind == "end":
        position.after, position.ended = number, True
    elif kind == "error":
        fields = loads(data)
        raise error_of_fields({"code": fields.get("code"), "message": fields.get("error")})
    return None


async def _named(answer: httpx2.Response) -> AsyncGenerator[tuple[str, int, bytes], None]:
    """(name, id, data) of each event.

    Raises:
        TransferError: too many bytes arrived without an event of a live stream.
    """
    idle = 0
    async with aclosing(events_of(answer.aiter_raw())) as events:
        async for event in events:
            name = field_of(event, b"event") or b"message"
            idle = 0 if name in _OURS else idle + len(event)
            if idle > _MAX_IDLE_BYTES:
                raise TransferError("The endpoint sends data but no items; request another descriptor")
            data = field_of(event, b"data")
            if data is not None:
                yield name.decode(), int(field_of(event, b"id") or b"0"), data


async def _messages(descriptor: Descriptor, reach: Reach, position: _Position) -> AsyncGenerator[Item, None]:
    """The items of one connection."""
    signal = (descriptor.stream and descriptor.stream.end_signal) or END_SIGNAL
    async with websocket(descriptor, reach, f"after={position.after}", _refusal) as socket:
        async for message in socket:
            if message == signal:
                position.after, position.ended = position.after + 1, True
                await socket.send(_ack(position.after))
            elif isinstance(message, bytes):
                number = int.from_bytes(message[:8], "big")
                yield number, message[8:]
                await socket.send(_ack(number))
            else:
                number, data = _item(message)
                yield number, data
                await socket.send(_ack(number))
    position.closed = position.ended and socket.close_code == NORMAL_CLOSURE


def _item(message: str) -> Item:
    try:
        fields = loads(message)
        number, data = fields["id"], fields["data"]
    except (*MALFORMED, KeyError, TypeError) as error:
        raise TransferError("The response is not a live stream", reason=repr(error)) from error
    if type(number) is not int:
        raise TransferError("The response is not a live stream: an item has no number")
    return number, data


async def _refusal(raw: bytes) -> BrokerPlaneError:
    """The error of a bridge's problem details, or of the error code in its close."""
    if raw.startswith(b"{"):
        return refusal_of(ShortResponse(400, httpx2.Headers(), raw))
    code = raw.decode("ascii", "replace")
    return error_of_fields({"code": code, "message": f"The bridge ended the stream: {code}"})


def _ack(number: int) -> str:
    return f'{{"after":{number}}}'


def _decoded(data: Any) -> Any:
    """A row, or a chunk, which is sent in base64."""
    return b64decode(data, validate=True) if isinstance(data, str) else data


FollowSubject = Callable[[str, int], AsyncGenerator[Item, None]]
"""As `follow`, for a presigned subject."""
