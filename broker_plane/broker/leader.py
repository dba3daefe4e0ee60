"""Consistent reads: in a cluster the stream's leader decides.

Any replica answers a direct get, and one that lags does not have yet what the leader has just acknowledged. So a direct
get may say that a message exists, if it never changes; only the leader may say that a message does *not* exist, or is
the newest. A single server is the only replica of its streams, and gets one direct request.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from time import monotonic
from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import METAS_BYTES, batch, sequence_of, status
from broker_plane.broker.messages import Message
from broker_plane.errors import BrokerUnavailableError, StorageError

_NO_MESSAGE = "10037"
_AT_ONCE = 256
_LEADERLESS_SECONDS = 1.0
"""How long a stream without a leader is assumed to have none."""


async def newest(connection: Connection, stream: str, subject: str) -> Message | None:
    """The last message of `subject`, which may change: as the leader has it.

    Raises:
        BrokerUnavailableError: there is no leader at the moment.
    """
    if connection.clustered:
        return await _at_leader(connection, stream, {"last_by_subj": subject})
    return await _direct(connection, stream, subject)


async def existing(connection: Connection, stream: str, subject: str) -> Message | None:
    """The one message of `subject`, which is written once and may be deleted.

    As the leader has it. While there is no leader nothing can be deleted either, so any replica may answer. Raises as
    `newest`.
    """
    if connection.clustered and monotonic() > connection.leaderless.get(stream, 0.0):
        try:
            return await _once_at_leader(connection, stream, {"last_by_subj": subject})
        except BrokerUnavailableError:
            connection.leaderless[stream] = monotonic() + _LEADERLESS_SECONDS
    return await fixed(connection, stream, subject)


async def fixed(connection: Connection, stream: str, subject: str) -> Message | None:
    """The one message of `subject`, which is written once: from any replica that has it. Raises as `newest`."""
    found = await _direct(connection, stream, subject)
    if found is None and connection.clustered:
        return await _at_leader(connection, stream, {"last_by_subj": subject})
    return found


async def numbered(connection: Connection, stream: str, sequence: int) -> Message | None:
    """The message with this sequence, from any replica that has it. Raises as `newest`."""
    found = await _direct(connection, stream, payload=b'{"seq":%d}' % sequence)
    if found is None and connection.clustered:
        return await _at_leader(connection, stream, {"seq": sequence})
    return found


async def following(connection: Connection, stream: str, subject: str, sequence: int) -> Message | None:
    """The first message of `subject`, which may have wildcards, from `sequence` on. Raises as `newest`."""
    asked = {"seq": sequence, "next_by_subj": subject}
    if connection.clustered:
        return await _at_leader(connection, stream, asked)
    return await _direct(connection, stream, payload=orjson.dumps(asked))


async def every(
    connection: Connection, stream: str, subject: str, start: int = 1, *, first: int = _AT_ONCE, most: int = _AT_ONCE
) -> AsyncGenerator[Message, None]:
    """All messages of `subject` from the sequence `start` on, in batches of `first` to `most`.

    A completed iteration has everything that the leader has. Raises as `newest`.
    """
    sequence, at_once = start, first
    while True:
        last, more = 0, False
        request = {"batch": at_once, "max_bytes": METAS_BYTES, "seq": sequence, "next_by_subj": subject}
        async with aclosing(batch(connection, stream, request)) as messages:
            async for message in messages:
                last, more = sequence_of(message), _more(message)
                yield message
        if last >= sequence:
            sequence = last + 1
        else:  # no message, or headers that its writer has forged
            more = False
        if not more and connection.clustered:
            missed = await _at_leader(connection, stream, {"seq": sequence, "next_by_subj": subject})
            if missed is not None:
                sequence, more = sequence_of(missed) + 1, True
                yield missed
        if not more:
            return
        at_once = min(4 * at_once, most)


async def _direct(connection: Connection, stream: str, subject: str = "", payload: bytes = b"") -> Message | None:
    """From any replica; while one of them dies, another one may answer."""
    asked = f"{connection.js_api}.DIRECT.GET.{stream}{'.' if subject else ''}{subject}"
    answer = await connection.retry(partial(connection.request, asked, payload, seconds=connection.attempt_seconds))
    if "Nats-Stream" in (answer.headers or {}):  # a stored message, whatever else is in its headers
        return answer
    if status(answer) == "404":
        return None
    raise StorageError(f"NATS refused to read {stream}", reason=status(answer))


async def _at_leader(connection: Connection, stream: str, asked: Mapping[str, Any]) -> Message | None:
    return await connection.retry(partial(_once_at_leader, connection, stream, asked))


async def _once_at_leader(connection: Connection, stream: str, asked: Mapping[str, Any]) -> Message | None:
    try:
        found = (await connection.api(f"STREAM.MSG.GET.{stream}", asked, seconds=connection.read_seconds))["message"]
    except StorageError as error:
        if _NO_MESSAGE in error.reason:
            return None
        raise
    return _message(connection, stream, found)


def _more(message: Message) -> bool:
    """Whether the replica that sent this message of a batch has further ones (ADR-31)."""
    return (message.headers or {}).get("Nats-Num-Pending") != "0"


def _message(connection: Connection, stream: str, found: Mapping[str, Any]) -> Message:
    """As a direct get would have returned it (ADR-31)."""
    headers = _headers(b64decode(found.get("hdrs", "")))
    headers |= {
        "Nats-Stream": stream,
        "Nats-Subject": found["subject"],
        "Nats-Sequence": str(found["seq"]),
        "Nats-Time-Stamp": found["time"],
    }
    return Message(connection.client, subject=found["subject"], data=b64decode(found.get("data", "")), headers=headers)


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode().split("\r\n")[1:]
    return {name: value.strip() for name, found, value in (line.partition(":") for line in lines) if found}
