"""Batched direct gets (ADR-31): many messages of a stream for one request, without a consumer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import orjson
from nats.aio.msg import Msg

from broker_plane.errors import StorageError
from broker_plane.storage.connection import Connection

METAS_BYTES = 8 << 20
"""Of messages that somebody else made as large as a message may be: so much of them is asked for at once, and one at
least. Hundreds of them would be more than nats-server keeps for one connection, and it would cut it."""

_STREAM = "Nats-Stream"
_ENDS = ("204", "404")
"""End of batch, and nothing there."""


async def batch(connection: Connection, stream: str, request: Mapping[str, Any]) -> AsyncGenerator[Msg, None]:
    """What `stream` has for `request`. A completed iteration is everything that it has.

    Raises:
        BrokerAwayError: it broke off.
        StorageError: the server refused.
    """
    inbox = connection.inbox()
    async with connection.listening(inbox) as listening:
        await connection.publish(f"$JS.API.DIRECT.GET.{stream}", orjson.dumps(request), reply=inbox)
        while True:
            message = await connection.next_message(listening)
            ended = status(message)
            if ended in _ENDS:
                return
            if ended:
                raise StorageError(f"NATS refused to read {stream}", reason=ended)
            yield message


def status(message: Msg) -> str:
    """The status of an answer without data (ADR-4); empty for a message.

    A stored message may have a header `Status` of its own, by whoever stored it; nats-server says where it stood.
    """
    headers = message.headers or {}
    return "" if _STREAM in headers else headers.get("Status", "")


def sequence_of(message: Msg) -> int:
    """Where a message that was read stands in its stream."""
    return int((message.headers or {}).get("Nats-Sequence", "0"))
