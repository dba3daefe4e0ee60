"""mqtt: one body as the messages of a topic."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote, urlsplit

from broker_plane.client.guard import RequestTarget
from broker_plane.errors import TransferError, TransferInterruptedError, UnsupportedProtocolError
from broker_plane.plane.redacted_logs import redact_loggers
from broker_plane.transfer.allowance import MAX_MESSAGE_BYTES, Allowance
from broker_plane.transfer.auth import check_auth
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.streams import SILENCE_SECONDS, until_end
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import MQTT_SCHEMES

redact_loggers("paho.mqtt.client")  # it is imported at its first use

_MESSAGES_WAITING = 4


async def mqtt_source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
    """The messages of a topic, `mqtt(s)://host/topic`, from the moment of the subscription.

    `auth` is `header`, with the user name as `header_name` and the password as `value`.

    Raises:
        UnsupportedProtocolError: the package paho-mqtt is not installed. TransferInterruptedError, TransferError.
    """
    topic = _topic(descriptor)
    target = await reach.check(descriptor.endpoint, MQTT_SCHEMES)
    check_auth(descriptor.auth, target)
    mailbox = _Mailbox()
    client = _client(descriptor, target, topic, mailbox)
    try:
        await asyncio.to_thread(client.connect, target.address, target.port)
    except OSError as error:
        raise TransferInterruptedError("The MQTT broker does not answer; try again", reason=repr(error)) from error
    client.loop_start()
    try:
        async with aclosing(until_end(mailbox.messages(), descriptor, allowance)) as messages:
            async for message in messages:
                yield message
    except TimeoutError as error:
        raise TransferInterruptedError("No message arrived on the topic in time; try again") from error
    finally:
        mailbox.close()
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


def _topic(descriptor: Descriptor) -> str:
    if not (descriptor.stream and descriptor.stream.end_signal):
        raise TransferError("A topic never ends by itself: a descriptor of mqtt needs stream.end_signal")
    topic = unquote(urlsplit(descriptor.endpoint).path).lstrip("/")
    if not topic or set(topic) & {"#", "+"}:
        raise TransferError("The endpoint of mqtt names one topic, mqtt://host/topic")
    return topic


def _client(descriptor: Descriptor, target: RequestTarget, topic: str, mailbox: _Mailbox) -> Any:
    """A client that subscribes to `topic` once connected, and puts what arrives into `mailbox`."""
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise UnsupportedProtocolError("mqtt needs paho-mqtt: pip install 'broker-plane[transfer]'") from error

    class Bounded(Client):
        """paho buffers a packet of up to 256 MB without a limit to set; every byte it receives passes this method."""

        def _sock_recv(self, bufsize: int) -> bytes:
            data: bytes = super()._sock_recv(bufsize)
            return mailbox.count(data)

    client = Bounded(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
    client.on_message = lambda c, u, message: mailbox.put(bytes(message.payload))
    client.on_disconnect = lambda *_: mailbox.put(None)
    if descriptor.auth:
        client.username_pw_set(descriptor.auth.header_name or "", descriptor.auth.value)
    if target.encrypted:
        client.tls_set_context(ssl.create_default_context())
    return client


class _Mailbox:
    """A bounded queue from the client's thread: when it is full, the thread waits until a message is consumed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.Semaphore(_MESSAGES_WAITING)
        self._closed = False
        self._received = 0

    def count(self, data: bytes) -> bytes:
        """Count bytes of an incomplete message. Raises ConnectionAbortedError: the message is too long."""
        self._received += len(data)
        if self._received > MAX_MESSAGE_BYTES:
            raise ConnectionAbortedError("A message is too long")
        return data

    def put(self, item: bytes | None) -> None:
        self._received = 0
        self._room.acquire()
        if not self._closed:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages as they arrive.

        Raises:
            TimeoutError: none arrived in time. TransferInterruptedError: the connection has ended.
        """
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                item = await self._queue.get()
            self._room.release()
            if item is None:
                raise TransferInterruptedError(
                    "The MQTT broker closed the connection, or a message is too long; try again"
                )
            yield item

    def close(self) -> None:
        """Stop consuming, and release the thread."""
        self._closed = True
        self._room.release(1 << 20)
