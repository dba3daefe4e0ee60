"""Reading a live stream by descriptor (docs/transfers.md): numbered items over sse and ws, each once, over any breaks.

To ask for the next item says that this one was taken. Over sse it is told by coming again with its number, over ws by
a word; so whoever breaks off goes on with the number that it had last.
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
from broker_plane.client.capped import Answer
from broker_plane.errors import BodyNotFoundError, BrokerPlaneError, TransferError, TransferInterruptedError
from broker_plane.transfer.http import requested
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.streams import connected, lines_of
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.live import END_SIGNAL
from broker_plane.wire.presigned import error_of

_AWAY_SECONDS = 60.0
_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0
_ORDERLY = 1000
_NO_CONTENT = 204
_FIELDS, _OURS = (b"event", b"id", b"data"), (b"item", b"end", b"error")
_LINE_BYTES = 4
_MOST_IDLE_BYTES = 1 << 20
"""Between two items, besides them. A bridge that has none says so in 7 bytes every few seconds."""


Item = tuple[int, Any]
"""(number, row or chunk)"""


@dataclass(slots=True)
class _Place:
    """What was taken: `after` is the last item's number, the end's once that was seen (`ended`)."""

    after: int
    ended: bool = False
    over: bool = False


async def follow(descriptor: Descriptor, reach: Reach, after: int) -> AsyncGenerator[Item, None]:
    """The items after `after` as they come, to the end.

    Raises:
        GrantError, BodyNotFoundError, UntrustedHostError. LeaseLostError: what follows `after` is gone.
        TransferInterruptedError: the bridge was away for a minute, or at the first break where `reconnect` is false.
    """
    place = _Place(after)
    again = descriptor.stream is None or descriptor.stream.reconnect is not False
    once = _events if descriptor.protocol == "sse" else _messages
    since, wait = anyio.current_time(), _FIRST_WAIT_SECONDS
    while not place.over:
        try:
            async with aclosing(once(descriptor, reach, place)) as items:
                async for number, data in items:
                    yield number, data
                    place.after = number
                    since, wait = anyio.current_time(), _FIRST_WAIT_SECONDS
        except BodyNotFoundError:
            if not place.ended:
                raise
            return  # the end was taken, and only that word was lost
        except BrokerPlaneError as error:
            if not error.retryable or not again or anyio.current_time() > since + _AWAY_SECONDS:
                raise
            await anyio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


async def _events(descriptor: Descriptor, reach: Reach, place: _Place) -> AsyncGenerator[Item, None]:
    """The events of one answer."""
    headers = {"accept": "text/event-stream", **({"last-event-id": str(place.after)} if place.after else {})}
    try:
        async with requested(descriptor, reach, "GET", headers) as answer:
            if answer.status_code == _NO_CONTENT:
                place.over = place.ended = True
                return
            async with aclosing(_named(answer)) as events:
                async for kind, number, data in events:
                    if kind == "end":
                        place.after, place.ended = number, True
                    elif kind == "error":
                        said = loads(data)
                        raise error_of({"code": said.get("code"), "message": said.get("error")})
                    elif kind == "item":
                        yield number, _shown(loads(data)["data"])
    except httpx2.TransportError as error:
        raise TransferInterruptedError("The bridge broke off; try again", reason=repr(error)) from error
    except (*MALFORMED, ValueError, KeyError, AttributeError, TypeError) as error:
        raise TransferError("The answer is no live stream", reason=repr(error)) from error


async def _named(answer: httpx2.Response) -> AsyncGenerator[tuple[str, int, bytes], None]:
    """(name, id, data) of each event; all of ours have one line of data.

    Raises:
        TransferError: none of ours has come for too long.
    """
    fields: dict[bytes, bytes] = {}
    idle = size = 0
    async with aclosing(lines_of(answer.aiter_raw())) as lines:
        async for line in lines:
            size += len(line) + _LINE_BYTES
            if line:
                name, _, value = line.partition(b":")
                if name in _FIELDS:
                    fields[name] = value.removeprefix(b" ")
                continue
            idle, size = 0 if fields.get(b"event") in _OURS else idle + size, 0
            if idle > _MOST_IDLE_BYTES:
                raise TransferError("The endpoint sends much, and no items; ask for another descriptor")
            if b"data" in fields:
                yield fields.get(b"event", b"message").decode(), int(fields.get(b"id", b"0")), fields[b"data"]
            fields = {}


async def _messages(descriptor: Descriptor, reach: Reach, place: _Place) -> AsyncGenerator[Item, None]:
    """The messages of one connection."""
    signal = (descriptor.stream and descriptor.stream.end_signal) or END_SIGNAL
    async with connected(descriptor, reach, f"after={place.after}", _refused) as socket:
        async for message in socket:
            if message == signal:
                place.after, place.ended = place.after + 1, True
                await socket.send(_taken(place.after))
            elif isinstance(message, bytes):
                number = int.from_bytes(message[:8], "big")
                yield number, message[8:]
                await socket.send(_taken(number))
            else:
                number, data = _item(message)
                yield number, data
                await socket.send(_taken(number))
    place.over = place.ended and socket.close_code == _ORDERLY


def _item(message: str) -> Item:
    try:
        said = loads(message)
        number, data = said["id"], said["data"]
    except (*MALFORMED, KeyError, TypeError) as error:
        raise TransferError("The answer is no live stream", reason=repr(error)) from error
    if type(number) is not int:
        raise TransferError("The answer is no live stream: an item has no number")
    return number, data


async def _refused(raw: bytes) -> BrokerPlaneError:
    """A bridge gives problem details, or closes with the error's code."""
    if raw.startswith(b"{"):
        return refusal_of(Answer(400, httpx2.Headers(), raw))
    code = raw.decode("ascii", "replace")
    return error_of({"code": code, "message": f"The bridge ended the stream: {code}"})


def _taken(number: int) -> str:
    return f'{{"after":{number}}}'


def _shown(data: Any) -> Any:
    """A row, or a chunk that travels in base64."""
    return b64decode(data, validate=True) if isinstance(data, str) else data


Follow = Callable[[str, int], AsyncGenerator[Item, None]]
"""As `follow`, of a presigned subject."""
