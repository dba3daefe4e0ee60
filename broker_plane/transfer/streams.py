"""sse, ws, wss and mqtt as ways of one body: messages that come one after the other, until they end.

The body is the messages' bytes in their order; where the descriptor's member `encoding` is `base64`, each message is a
piece in base64. `stream.end_signal` is the text of the message behind the last one; without it the body ends with the
answer, or with a close of code 1000. How complete it is, size and checksum say.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from time import time
from typing import Any
from urllib.parse import unquote, urlsplit

from broker_plane.client.http import verifying
from broker_plane.errors import BrokerPlaneError, TransferError, TransferInterruptedError, UnsupportedProtocolError
from broker_plane.plane.redacted_logs import quiet
from broker_plane.transfer.allowance import MOST_MESSAGE, Allowance
from broker_plane.transfer.auth import auth_headers, check_auth, signed_url
from broker_plane.transfer.http import http_source
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor

quiet("websockets.client", "paho.mqtt.client")  # they are imported at the first use

_SILENCE_SECONDS = 30.0
_FRAMES_WAITING = 2
_MESSAGES_WAITING = 4
_EMPTY_BYTES = 128
"""What a message without a byte of the body costs of the allowance."""

_ORDERLY, _POLICY = 1000, 1008
Refused = Callable[[bytes], Awaitable[BrokerPlaneError]]
"""The error of an answer's body, or of the reason of a close for policy (1008)."""

_NEEDS = "{} needs {}: pip install 'broker-plane[transfer]'"


async def sse_source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
    """The data of server-sent events (WHATWG HTML, section 9.2)."""
    asked = descriptor.model_copy(update={"format": "text/event-stream", "compression": None, "checksum": None})
    async with (
        aclosing(http_source(asked, reach, allowance.unannounced())) as pieces,
        aclosing(_until_end(_events(pieces, allowance), descriptor, allowance)) as messages,
    ):
        async for message in messages:
            yield message


async def ws_source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
    """The messages of a WebSocket (RFC 6455).

    Raises:
        UnsupportedProtocolError: websockets is not there. TransferInterruptedError.
    """

    async def received() -> AsyncIterator[bytes]:
        async with connected(descriptor, reach) as socket:
            incoming = aiter(socket)
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    message = await anext(incoming, None)
                if message is None:
                    if socket.close_code != _ORDERLY:
                        raise TransferInterruptedError("The WebSocket broke off; try again")
                    return
                yield message.encode() if isinstance(message, str) else message

    async with aclosing(_until_end(received(), descriptor, allowance)) as messages:
        async for message in messages:
            yield message


@asynccontextmanager
async def connected(
    descriptor: Descriptor, reach: Reach, query: str = "", refused: Refused | None = None
) -> AsyncIterator[Any]:
    """A WebSocket to the endpoint, with `query` added to it. `refused` says what the endpoint's refusals mean.

    Raises:
        UnsupportedProtocolError: websockets is not there. TransferInterruptedError.
    """
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus, WebSocketException
    except ImportError as error:
        raise UnsupportedProtocolError(_NEEDS.format("ws", "websockets")) from error
    url = signed_url(descriptor.endpoint, descriptor.auth)
    url += query and ("&" if "?" in url else "?") + query
    target = await reach.check(url, ("wss", "ws"))
    check_auth(descriptor.auth, target)
    secure: Any = {"ssl": verifying(), "server_hostname": target.host} if target.scheme == "wss" else {}
    try:
        async with connect(
            f"{target.scheme}://{target.authority}{target.rest}",
            host=target.address,
            port=target.port,
            additional_headers=auth_headers(descriptor.auth, "GET", url, time()),
            max_size=MOST_MESSAGE,
            max_queue=_FRAMES_WAITING,
            compression=None,
            proxy=None,
            open_timeout=_SILENCE_SECONDS,
            **secure,
        ) as socket:
            try:
                yield socket
            except BaseException:
                # Who leaves early reads no more, and the end of the closing handshake stands behind what is unread.
                socket.transport.abort()
                raise
    except InvalidStatus as error:
        if refused is not None and 400 <= error.response.status_code < 500:
            raise await refused(bytes(error.response.body or b"")) from error
        raise TransferInterruptedError("The endpoint is no WebSocket; try again", reason=repr(error)) from error
    except (WebSocketException, OSError, TimeoutError) as error:
        closed = getattr(error, "rcvd", None)
        if refused is not None and closed is not None and closed.code == _POLICY:
            raise await refused(closed.reason.encode()) from error
        raise TransferInterruptedError("The WebSocket broke off; try again", reason=repr(error)) from error


async def mqtt_source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
    """The messages of a topic, `mqtt(s)://host/topic`, as a session of its own, from the moment of the subscription.

    `auth` is `header` with the user as its name and the password as its value.

    Raises:
        UnsupportedProtocolError: paho-mqtt is not there. TransferInterruptedError, TransferError.
    """
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise UnsupportedProtocolError(_NEEDS.format("mqtt", "paho-mqtt")) from error
    if not (descriptor.stream and descriptor.stream.end_signal):
        raise TransferError("A topic has no end of its own: a descriptor of mqtt says stream.end_signal")
    target = await reach.check(descriptor.endpoint, ("mqtts", "mqtt"))
    check_auth(descriptor.auth, target)
    topic = unquote(urlsplit(descriptor.endpoint).path).lstrip("/")
    if not topic or set(topic) & {"#", "+"}:
        raise TransferError("The endpoint of mqtt names one topic, mqtt://host/topic")
    mailbox = _Mailbox()

    class Bounded(Client):
        """paho reads a packet of up to 256 MB whole, and asks nobody; this is its one door to the socket."""

        def _sock_recv(self, bufsize: int) -> bytes:
            data: bytes = super()._sock_recv(bufsize)
            return mailbox.count(data)

    client = Bounded(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
    client.on_message = lambda c, u, message: mailbox.put(bytes(message.payload))
    client.on_disconnect = lambda *_: mailbox.put(None)
    if descriptor.auth:
        client.username_pw_set(descriptor.auth.header_name or "", descriptor.auth.value)
    if target.scheme == "mqtts":
        client.tls_set_context(ssl.create_default_context())
    try:
        await asyncio.to_thread(client.connect, target.address, target.port)
    except OSError as error:
        raise TransferInterruptedError("The MQTT broker does not answer; try again", reason=repr(error)) from error
    client.loop_start()
    try:
        async with aclosing(_until_end(mailbox.messages(), descriptor, allowance)) as messages:
            async for message in messages:
                yield message
    except TimeoutError as error:
        raise TransferInterruptedError("Nothing came on the topic for a while; try again") from error
    finally:
        mailbox.close()
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


class _Mailbox:
    """Messages from the client's thread, a few at a time: the thread waits until one of them was taken."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.Semaphore(_MESSAGES_WAITING)
        self._closed = False
        self._came = 0

    def count(self, data: bytes) -> bytes:
        """`data` of a message that is not whole yet. Raises ConnectionError: it is too long."""
        self._came += len(data)
        if self._came > MOST_MESSAGE:
            raise ConnectionAbortedError("A message is too long")
        return data

    def put(self, item: bytes | None) -> None:
        self._came = 0
        self._room.acquire()
        if not self._closed:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages as they come.

        Raises:
            TimeoutError: none came for a while. TransferInterruptedError: the connection is over.
        """
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS):
                item = await self._queue.get()
            self._room.release()
            if item is None:
                raise TransferInterruptedError(
                    "The MQTT broker broke off, or sent a message that is too long; try again"
                )
            yield item

    def close(self) -> None:
        """Nobody takes any more; the thread waits for nothing."""
        self._closed = True
        self._room.release(1 << 20)


async def _until_end(
    messages: AsyncIterator[bytes], descriptor: Descriptor, allowance: Allowance
) -> AsyncGenerator[bytes, None]:
    signal = descriptor.stream.end_signal if descriptor.stream else None
    encoded = (descriptor.model_extra or {}).get("encoding") == "base64"
    async for message in messages:
        if signal is not None and message == signal.encode():
            return
        try:
            piece = b64decode(message, validate=True) if encoded else message
        except ValueError as error:
            raise TransferError("A message is no base64, as the descriptor says") from error
        if piece:
            allowance.gain()
            yield piece
        else:
            allowance.spend(_EMPTY_BYTES)
    if signal is not None:
        raise TransferInterruptedError("The messages ended before the one that says that they are all")


async def _events(pieces: AsyncGenerator[bytes, None], allowance: Allowance) -> AsyncIterator[bytes]:
    """The data of each event; its lines are joined by a line feed."""
    data: list[bytes] = []
    async with aclosing(lines_of(pieces)) as lines:
        async for line in lines:
            if not line:
                if data:
                    yield b"\n".join(data)
                else:
                    allowance.spend(_EMPTY_BYTES)
                data = []
            elif line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            else:
                allowance.spend(len(line))


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The lines of an event stream.

    Raises:
        TransferError: an event, which ends with an empty line, is too long.
    """
    held = bytearray()
    event = 0
    async for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            line = bytes(held + part if held else part).removesuffix(b"\r")
            held.clear()
            event = event + len(line) + 1 if line else 0
            if event > MOST_MESSAGE:
                raise _too_long()
            yield line
        held += rest
        if event + len(held) > MOST_MESSAGE:
            raise _too_long()


def _too_long() -> TransferError:
    return TransferError(f"An event has more than {MOST_MESSAGE} bytes")
