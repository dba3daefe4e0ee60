"""Messages of one put that were sent and are not acknowledged yet, in their order.

In a cluster what was on its way to a leader that died is lost without a word. So each message has an id, by which the
stream stores it once, and all of them are sent again until a new leader has acknowledged them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from nats.aio.msg import Msg

from broker_plane.broker.connection import Connection
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError

_ID = "Nats-Msg-Id"


@dataclass(slots=True)
class Sent:
    """A message, and the answer to it."""

    subject: str
    payload: bytes
    headers: dict[str, str]
    answer: asyncio.Future[Msg]

    @property
    def lost(self) -> bool:
        """Whether no acknowledgement has come: nothing, or an error."""
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
        """Send a message behind those that were sent before."""
        identified = {**headers, **self._next_id()}
        answer = await self._connection.repeat(lambda: self._connection.send(subject, payload, identified))
        sent = Sent(subject, payload, identified, answer)
        self._sent.append(sent)
        self.bytes += len(payload)
        return sent

    async def acknowledged(self) -> int:
        """The sequence of the oldest message, which is stored now. Raises as `Connection.acknowledged`."""
        oldest = self._sent[0]
        sequence = await self._sequence_of(oldest)
        if sequence < self._last:  # one that was sent later was stored first
            sequence = await self._store_behind(oldest, sequence)
        self._last = sequence
        self._sent.popleft()
        self.bytes -= len(oldest.payload)
        return sequence

    async def settled(self, seconds: float) -> None:
        """Wait until it is known of all of them whether they are stored, at most so long."""
        if self._sent:
            await asyncio.wait([sent.answer for sent in self._sent], timeout=seconds)

    async def _sequence_of(self, sent: Sent) -> int:
        again = False

        async def attempt() -> int:
            nonlocal again
            if again:
                await self._send_again()
            again = True
            ack = await self._connection.acknowledged(sent.answer, self._connection.attempt_seconds)
            sequence: int = ack["seq"]
            return sequence

        return await self._connection.repeat(attempt)

    async def _send_again(self) -> None:
        for sent in self._sent:
            if sent.lost:
                sent.answer.cancel()
                sent.answer = await self._connection.send(sent.subject, sent.payload, sent.headers)

    async def _store_behind(self, sent: Sent, before: int) -> int:
        """Store a message once more, so that chunks stand in their order, and remove the first copy."""
        sent.headers |= self._next_id()
        sent.answer = await self._connection.repeat(
            lambda: self._connection.send(sent.subject, sent.payload, sent.headers)
        )
        sequence = await self._sequence_of(sent)
        with suppress(BrokerPlaneError):  # a resource server may not; the copy ends with its time to live
            stream = (await self._connection.acknowledged(sent.answer))["stream"]
            await self._connection.api(f"STREAM.MSG.DELETE.{stream}", {"seq": before, "no_erase": True})
        return sequence

    def _next_id(self) -> dict[str, str]:
        if not self._connection.clustered:
            return {}
        self._count += 1
        return {_ID: f"{self._put}.{self._count}"}


async def outcome(connection: Connection, sent: Sent) -> bool | None:
    """Whether a message was stored; None where that is not known."""
    try:
        await connection.acknowledged(sent.answer)
    except BrokerUnavailableError:
        return None
    except BrokerPlaneError:
        return False
    return True
