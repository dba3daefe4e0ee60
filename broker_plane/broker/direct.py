"""Batched direct gets (ADR-31): many messages of a stream for one request, without a consumer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from nats.aio.msg import Msg

from broker_plane.broker.connection import Connection
from broker_plane.broker.in_flight import InFlight
from broker_plane.errors import StorageError
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import chunk_subject

METAS_BYTES = 8 << 20
"""Of messages that somebody else made as large as a message may be: so much of them is asked for at once, and one at
least. Hundreds of them would be more than nats-server keeps for one connection, and it would cut it."""

_STREAM = "Nats-Stream"
_ENDS = ("204", "404")
"""End of batch, and nothing there."""

_BATCH_BYTES = 4 << 20
_CHUNK_OVERHEAD_BYTES = 4096
"""Subject and headers of a chunk count for `max_bytes` as well."""


async def batch(connection: Connection, stream: str, request: Mapping[str, Any]) -> AsyncGenerator[Msg, None]:
    """What `stream` has for `request`. A completed iteration is everything that it has.

    It is asked for in batches of `_BATCH_BYTES`, each within the connection's budget of reads.

    Raises:
        BrokerUnavailableError: it broke off.
        StorageError: the server refused.
    """
    asked, left = dict(request), int(request["batch"])
    while left:
        last = 0
        more = False
        async with aclosing(_batch(connection, stream, asked | {"batch": left, "max_bytes": _BATCH_BYTES})) as messages:
            async for message in messages:
                if status(message):
                    more = _has_more(message)
                    continue
                last, left = sequence_of(message), left - 1
                yield message
        if not (more and last):
            return
        asked["seq"] = last + 1


async def _batch(connection: Connection, stream: str, request: Mapping[str, Any]) -> AsyncGenerator[Msg, None]:
    """One batch; the message that ends it comes last."""
    inbox = connection.inbox()
    # The sizes of its messages are not known: the budget is taken as a whole, until the batch has ended.
    with InFlight(connection.reads, stream, _BATCH_BYTES) as flight:
        async with connection.listening(inbox, flight.ended) as listening:
            await flight.ask(1)
            await connection.publish(f"{connection.js_api}.DIRECT.GET.{stream}", orjson.dumps(request), reply=inbox)
            while True:
                message = await connection.next_message(listening)
                ended = status(message)
                if ended and ended not in _ENDS:
                    raise StorageError(f"NATS refused to read {stream}", reason=ended)
                yield message
                if ended:
                    return


def chunk_request(body: BodyInfo, sequence: int, count: int) -> dict[str, Any]:
    """A batched direct get of `count` chunks of `body`, and of no more bytes than they should have."""
    return {
        "batch": count,
        "seq": sequence,
        "next_by_subj": chunk_subject(body.owner, body.id),
        "max_bytes": count * (body.chunk_bytes + _CHUNK_OVERHEAD_BYTES),
    }


def _has_more(message: Msg) -> bool:
    """Whether a batch ended before everything that matches was sent."""
    return status(message) == "204" and (message.headers or {}).get("Nats-Num-Pending", "0") != "0"


def status(message: Msg) -> str:
    """The status of an answer without data (ADR-4); empty for a message.

    A stored message may have a header `Status` of its own, by whoever stored it; nats-server says where it stood.
    """
    headers = message.headers or {}
    return "" if _STREAM in headers else headers.get("Status", "")


def sequence_of(message: Msg) -> int:
    """Where a message that was read stands in its stream."""
    return int((message.headers or {}).get("Nats-Sequence", "0"))
