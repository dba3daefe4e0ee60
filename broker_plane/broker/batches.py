"""Batched direct gets of known sequences: each batch is answered by one replica, two of them maybe at the same time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncGenerator

from nats.aio.msg import Msg

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of, status
from broker_plane.broker.leader import numbered
from broker_plane.broker.subscriptions import Listening
from broker_plane.errors import BrokerUnavailableError


class Batches:
    """The batches that are answered on one subscription, each on a subject of its own.

    What a lagging or dying replica did not send is read again, in a cluster from one that has it.
    """

    def __init__(self, connection: Connection, stream: str, listening: Listening) -> None:
        self._connection = connection
        self._stream = stream
        self._listening = listening
        self._came: defaultdict[str, deque[Msg]] = defaultdict(deque)

    async def messages(self, reply: str, first: int, count: int) -> AsyncGenerator[tuple[int, Msg | None], None]:
        """The messages of `count` sequences from `first` on, as asked for on `reply`; None where there is none."""
        over = False
        for sequence in range(first, first + count):
            message = None if over else await self._next(reply)
            if message is not None and sequence_of(message) == sequence:
                yield sequence, message
                continue
            over = message is None or bool(status(message))
            if message is not None and not over:
                self._came[reply].appendleft(message)
            yield sequence, await self._again(sequence)
        while not over:
            message = await self._next(reply)
            over = message is None or bool(status(message))
        del self._came[reply]

    async def _again(self, sequence: int) -> Msg | None:
        return await numbered(self._connection, self._stream, sequence) if self._connection.clustered else None

    async def _next(self, reply: str) -> Msg | None:
        """The next message of a batch; None where it does not come: a node has died."""
        came = self._came[reply]
        while not came:
            try:
                message = await self._listening.next(self._connection.attempt_seconds)
            except BrokerUnavailableError:
                if self._connection.clustered:
                    return None
                raise
            self._came[message.subject].append(message)
        return came.popleft()
