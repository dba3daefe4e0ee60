"""Batched direct gets of known sequences. One replica answers a batch; two batches may be answered at the same time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncGenerator

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of, status
from broker_plane.broker.leader import numbered
from broker_plane.broker.messages import Message
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import BrokerUnavailableError


class Batches:
    """The batches that are answered on one subscription, each on a subject of its own.

    In a cluster, what a lagging or dying replica did not send is read again from a replica that has it.
    """

    def __init__(self, connection: Connection, stream: str, subscription: Subscription) -> None:
        self._connection = connection
        self._stream = stream
        self._subscription = subscription
        self._arrived: defaultdict[str, deque[Message]] = defaultdict(deque)

    async def messages(self, reply: str, first: int, count: int) -> AsyncGenerator[tuple[int, Message | None], None]:
        """The messages of `count` sequences from `first` on, requested with `reply`; None if one is not stored."""
        ended = False
        for sequence in range(first, first + count):
            message = None if ended else await self._next(reply)
            if message is not None and sequence_of(message) == sequence:
                yield sequence, message
                continue
            ended = message is None or bool(status(message))
            if message is not None and not ended:
                self._arrived[reply].appendleft(message)
            yield sequence, await self._again(sequence)
        while not ended:
            message = await self._next(reply)
            ended = message is None or bool(status(message))
        del self._arrived[reply]

    async def _again(self, sequence: int) -> Message | None:
        return await numbered(self._connection, self._stream, sequence) if self._connection.clustered else None

    async def _next(self, reply: str) -> Message | None:
        """The next message of a batch; None if a node has died and it does not arrive."""
        arrived = self._arrived[reply]
        while not arrived:
            try:
                message = await self._subscription.next(self._connection.attempt_seconds)
            except BrokerUnavailableError:
                if self._connection.clustered:
                    return None
                raise
            self._arrived[message.subject].append(message)
        return arrived.popleft()
