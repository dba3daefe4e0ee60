"""A write on condition of the last sequence of its subject (ADR-8), which in a cluster outlasts an election.

What went to a leader that has just died is never answered, so it is written again under the same condition. Where that
is refused, the first write may have been stored after all: a header by which a writer knows its own says so.
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
    """Store `payload` as the message of `subject` that follows the one of sequence `after`; 0 is none.

    Raises:
        ConflictError: another message follows it.
        BrokerUnavailableError: there is no leader; the outcome is unknown.
    """
    conditional = {**headers, EXPECTED: str(after)}
    if not connection.clustered:
        return await connection.store(subject, payload, conditional)
    write = secrets.token_hex(8)
    again = False

    async def attempt() -> int:
        nonlocal again
        try:
            seconds = connection.attempt_seconds
            return await connection.store(subject, payload, conditional | {_WRITE: write}, seconds=seconds)
        except BrokerUnavailableError:
            again = True
            raise
        except ConflictError:
            if not again:
                raise
            return await _own(connection, stream, subject, after, write)

    return await connection.repeat(attempt)


async def _own(connection: Connection, stream: str, subject: str, after: int, write: str) -> int:
    """The sequence of the message that `write` stored. Raises where another did, or none did yet."""
    last = await newest(connection, stream, subject)
    sequence = sequence_of(last) if last else 0
    if last is not None and (last.headers or {}).get(_WRITE) == write:
        return sequence
    if sequence == after:  # the leader has it, and not yet a majority
        raise BrokerUnavailableError("The broker is still storing this; try again", reason="in process", retry_after=1)
    raise ConflictError("Another writer was faster", reason=f"last sequence {sequence}")
