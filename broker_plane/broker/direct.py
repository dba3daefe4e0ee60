"""Batched direct gets (ADR-31): many messages of a stream for one request, without a consumer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import NO_RESPONDERS, unavailable
from broker_plane.broker.in_flight import InFlight
from broker_plane.broker.messages import Message
from broker_plane.errors import StorageError
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.plane_names import Names

METAS_BYTES = 8 << 20
"""Requested at once of messages that other users may make as large as any message. Hundreds of those would exceed what
nats-server buffers for one connection, and it would close the connection."""

_STREAM = "Nats-Stream"
_ENDS = ("204", "404")
"""End of batch, and no message."""

_NOBODY = "503"
"""No replica answers (ADR-4): one has just died."""

_BATCH_BYTES = 4 << 20
_CHUNK_OVERHEAD_BYTES = 4096
"""Subject and headers of a chunk count towards `max_bytes`, too."""


async def batch(connection: Connection, stream: str, request: Mapping[str, Any]) -> AsyncGenerator[Message, None]:
    """The messages of `stream` for `request`. A completed iteration has all of them.

    They are requested in batches of `_BATCH_BYTES`, each within the connection's budget of reads.

    Raises:
        BrokerUnavailableError: the batch was interrupted.
        StorageError: the server refused.
    """
    fields, left = dict(request), int(request["batch"])
    while left:
        last = 0
        more = False
        async with aclosing(
            _batch(connection, stream, fields | {"batch": left, "max_bytes": _BATCH_BYTES})
        ) as messages:
            async for message in messages:
                if status(message):
                    more = _has_more(message)
                    continue
                last, left = sequence_of(message), left - 1
                yield message
        if not (more and last):
            return
        fields["seq"] = last + 1


async def _batch(connection: Connection, stream: str, request: Mapping[str, Any]) -> AsyncGenerator[Message, None]:
    """One batch; the message that ends it comes last."""
    inbox = connection.inbox()
    # The sizes of its messages are unknown: the budget of a whole batch is used until it has ended.
    with InFlight(connection.reads, stream, _BATCH_BYTES) as flight:
        async with connection.subscribe(inbox, flight.ended) as subscription:
            await flight.take(1)
            await connection.publish(f"{connection.js_api}.DIRECT.GET.{stream}", orjson.dumps(request), reply=inbox)
            while True:
                message = await subscription.next(connection.timeout)
                ended = status(message)
                if ended == _NOBODY:
                    raise unavailable(None, NO_RESPONDERS)
                if ended and ended not in _ENDS:
                    raise StorageError(f"NATS refused to read {stream}", reason=ended)
                yield message
                if ended:
                    return


def chunk_request(names: Names, body: BodyInfo, sequence: int, count: int) -> dict[str, Any]:
    """A batched direct get of `count` chunks of `body`, limited to the bytes that they should have."""
    return {
        "batch": count,
        "seq": sequence,
        "next_by_subj": names.chunk_subject(body.owner, body.id),
        "max_bytes": count * (body.chunk_bytes + _CHUNK_OVERHEAD_BYTES),
    }


def _has_more(message: Message) -> bool:
    """Whether a batch ended before everything that matches was sent."""
    return status(message) == "204" and (message.headers or {}).get("Nats-Num-Pending", "0") != "0"


def status(message: Message) -> str:
    """The status of an answer without data (ADR-4); empty for a stored message.

    The writer of a stored message may have set a header `Status`; nats-server adds its stream to stored messages.
    """
    headers = message.headers or {}
    return "" if _STREAM in headers else headers.get("Status", "")


def sequence_of(message: Message) -> int:
    """The stream sequence of a message that was read directly."""
    return int((message.headers or {}).get("Nats-Sequence", "0"))
