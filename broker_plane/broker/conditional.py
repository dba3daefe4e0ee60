"""Compare-and-set on the last sequence of a subject (ADR-8), which in a cluster outlasts an election.

A leader that has just died never answers, so the write is repeated under the same condition. If that is refused, the
first write may have been stored after all: a header identifies the writer.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import newest
from broker_plane.errors import BrokerUnavailableError, ConflictError

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_WRITE = "Bp-Write"


async def store_after(
    connection: Connection, stream: str, subject: str, payload: bytes, after: int, headers: Mapping[str, str]
) -> int:
    """Store `payload` if the last message of `subject` has the sequence `after`; 0 means that there is none.

    Raises:
        ConflictError: the last message is another one.
        BrokerUnavailableError: there is no leader; the outcome is unknown.
    """
    conditional = {**headers, EXPECTED: str(after)}
    if not connection.clustered:
        return await connection.store(subject, payload, conditional)
    write = secrets.token_hex(8)
    repeated = False

    async def attempt() -> int:
        nonlocal repeated
        try:
            seconds = connection.attempt_seconds
            return await connection.store(subject, payload, conditional | {_WRITE: write}, seconds=seconds)
        except BrokerUnavailableError:
            repeated = True
            raise
        except ConflictError:
            if not repeated:
                raise
            return await _own(connection, stream, subject, after, write)

    return await connection.retry(attempt)


async def _own(connection: Connection, stream: str, subject: str, after: int, write: str) -> int:
    """The sequence of the message that `write` stored. Raises if another write was stored, or none was yet."""
    last = await newest(connection, stream, subject)
    sequence = sequence_of(last) if last else 0
    if last is not None and (last.headers or {}).get(_WRITE) == write:
        return sequence
    if sequence == after:  # the leader has it, but not a majority yet
        raise BrokerUnavailableError("The broker is still storing this; try again", reason="in process", retry_after=1)
    raise ConflictError("Another writer was faster", reason=f"last sequence {sequence}")
