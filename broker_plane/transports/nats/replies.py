"""What an instance publishes to the inbox of a client: numbered messages, signs of life, and the end marker."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.errors import BrokerUnavailableError
from broker_plane.exchange.headers import ALIVE, LAST, PART, REPLY, SEQ
from broker_plane.exchange.lines import error_answer
from broker_plane.exchange.parts import part_header, split
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.proxy.messages import key_asked
from broker_plane.transports.nats.wire_form import BUSY, HEADER_BYTES
from broker_plane.wire import json_rpc
from broker_plane.wire.plane_names import Names

_AWAY_SECONDS = 30.0
"""How long a message waits for nats-server to come back."""


def inbox_of(names: Names, message: NatsMessage) -> str:
    """Where the messages about a request go; empty if it names no inbox."""
    subject = (message.headers or {}).get(REPLY) or message.reply
    return subject if names.is_inbox(subject) else ""


def busy_line(line: bytes) -> bytes:
    """The error for a request of a client that has too many under way; it was not carried out."""
    said = "This client has too many requests under way at this server; try again when some of them are answered"
    return error_answer(key_asked(line), json_rpc.INTERNAL_ERROR, said, {"code": BUSY, "retryable": True})


class Replies:
    """The messages about one request. They are numbered from 1, and nothing follows the answer but the end marker."""

    def __init__(self, connection: Connection, inbox: str, headers: Mapping[str, str] | None = None) -> None:
        """`headers` are those of every message."""
        self._connection = connection
        self._inbox = inbox
        self._headers = dict(headers or {})
        self._said = 0

    async def say(self, line: bytes, *, last: bool = False) -> None:
        """Publish the next message; a large one in parts.

        Raises:
            BrokerUnavailableError: nats-server was away for too long.
        """
        self._said += 1
        await publish_numbered(self._connection, self._inbox, self._said, line, last=last, headers=self._headers)
        if last:
            await self.end()

    async def end(self) -> None:
        """Publish the end marker."""
        await publish_end(self._connection, self._inbox)

    async def alive(self, answer_to: str) -> None:
        """Say that the request still runs. nats-server answers to `answer_to` if nobody hears it."""
        await publish_alive(self._connection, self._inbox, answer_to)


async def acknowledge(connection: Connection, message: NatsMessage, headers: Mapping[str, str] | None = None) -> None:
    """Answer with an empty message, if the request names an inbox for it."""
    if connection.names.is_inbox(message.reply):
        with suppress(BrokerUnavailableError):  # the client asks again
            await connection.publish(message.reply, b"", headers=headers)


async def publish_end(connection: Connection, inbox: str) -> None:
    """Publish the end marker, after the answer."""
    await _publish(connection, inbox, b"", None)


async def publish_alive(connection: Connection, inbox: str, answer_to: str = "") -> None:
    """Say that a request still runs. nats-server answers to `answer_to` if nobody hears it."""
    await connection.publish(inbox, b"", reply=answer_to, headers={ALIVE: "1"})


async def publish_numbered(
    connection: Connection, inbox: str, number: int, line: bytes, *, last: bool, headers: Mapping[str, str]
) -> None:
    """Publish a message to an inbox under its number.

    Raises:
        BrokerUnavailableError: nats-server was away for too long.
    """
    most = connection.max_payload - HEADER_BYTES
    own = {**headers, SEQ: str(number)}
    if len(line) <= most:
        await _publish(connection, inbox, line, own | {LAST: "1"} if last else own)
        return
    parts = split(line, most)
    for each, part in enumerate(parts, 1):
        more = {PART: part_header(each, len(parts))} | ({LAST: "1"} if last and each == len(parts) else {})
        await _publish(connection, inbox, part, own | more)


async def _publish(connection: Connection, inbox: str, payload: bytes, headers: dict[str, str] | None) -> None:
    try:
        await connection.publish(inbox, payload, headers=headers)
    except BrokerUnavailableError:
        await retry_while_retryable(lambda: connection.publish(inbox, payload, headers=headers), _AWAY_SECONDS)
