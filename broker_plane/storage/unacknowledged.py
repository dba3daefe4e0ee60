"""Messages of one put that were sent and are not acknowledged yet, in order.

In a cluster, messages on their way to a leader that dies are lost silently. So each message has an id, by which the
stream stores it once, and all of them are sent again until a new leader has acknowledged them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError

_ID = "Nats-Msg-Id"


@dataclass(slots=True)
class Sent:
    """A message and its answer."""

    subject: str
    payload: bytes
    headers: dict[str, str]
    answer: asyncio.Future[Message]

    @property
    def lost(self) -> bool:
        """Whether it is not acknowledged: no answer, or an error."""
        answer = self.answer
        if not answer.done() or answer.cancelled() or answer.exception() is not None:
            return True
        return b'"error"' in answer.result().data


class Unacknowledged:
    """The messages of one body, named `put` in their ids."""

    def __init__(self, connection: Connection, put: str) -> None:
        self.bytes = 0
        self._connection = connection
        self._put = put
        self._count = 0
        self._last = 0
        self._sent: deque[Sent] = deque()

    def __len__(self) -> int:
        return len(self._sent)

    async def send(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Sent:
        """Send a message after those that were sent before."""
        identified = {**headers, **self._next_id()}
        answer = await self._connection.retry(lambda: self._connection.send(subject, payload, identified))
        sent = Sent(subject, payload, identified, answer)
        self._sent.append(sent)
        self.bytes += len(payload)
        return sent

    async def acknowledged(self) -> int:
        """Wait for the oldest message to be stored, and return its sequence. Raises as `Connection.acknowledged`."""
        oldest = self._sent[0]
        sequence = await self._sequence_of(oldest)
        if sequence < self._last:  # a message that was sent later was stored first
            sequence = await self._store_behind(oldest, sequence)
        self._last = sequence
        self._sent.popleft()
        self.bytes -= len(oldest.payload)
        return sequence

    async def settled(self, seconds: float) -> None:
        """Wait up to `seconds` until the outcome of all of them is known."""
        if self._sent:
            await asyncio.wait([sent.answer for sent in self._sent], timeout=seconds)

    async def _sequence_of(self, sent: Sent) -> int:
        repeated = False

        async def attempt() -> int:
            nonlocal repeated
            if repeated:
                await self._send_again()
            repeated = True
            ack = await self._connection.acknowledged(sent.answer, self._connection.attempt_seconds)
            sequence: int = ack["seq"]
            return sequence

        return await self._connection.retry(attempt)

    async def _send_again(self) -> None:
        for sent in self._sent:
            if sent.lost:
                sent.answer.cancel()
                sent.answer = await self._connection.send(sent.subject, sent.payload, sent.headers)

    async def _store_behind(self, sent: Sent, before: int) -> int:
        """Store a message once more, so that chunks are in order, and delete the first copy."""
        sent.headers |= self._next_id()
        sent.answer = await self._connection.retry(
            lambda: self._connection.send(sent.subject, sent.payload, sent.headers)
        )
        sequence = await self._sequence_of(sent)
        with suppress(BrokerPlaneError):  # a resource server has no permission; the copy expires
            stream = (await self._connection.acknowledged(sent.answer))["stream"]
            await self._connection.api(f"STREAM.MSG.DELETE.{stream}", {"seq": before, "no_erase": True})
        return sequence

    def _next_id(self) -> dict[str, str]:
        if not self._connection.clustered:
            return {}
        self._count += 1
        return {_ID: f"{self._put}.{self._count}"}


async def outcome(connection: Connection, sent: Sent) -> bool | None:
    """Whether a message was stored; None if unknown."""
    try:
        await connection.acknowledged(sent.answer)
    except BrokerUnavailableError:
        return None
    except BrokerPlaneError:
        return False
    return True
