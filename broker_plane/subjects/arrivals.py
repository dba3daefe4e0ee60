"""What is delivered to one asker on one connection. One subscription serves all its pulls: each of its own costs more
than the pull of a small body, which comes in the answer and needs none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from broker_plane.broker.connection import Connection
from broker_plane.broker.subscriptions import Listening
from broker_plane.errors import NotPermittedError, StorageError
from broker_plane.wire.names import delivery_subject, encode_id
from broker_plane.wire.presigned import CONNECTION_BYTES, NUMBER_BYTES

_MOST_WAITING_BYTES = 32 << 20
_MESSAGE_BYTES = 1024
"""What a message costs in memory besides its data."""


class Arrivals(Listening):
    """The deliveries on `connection`, whose pulls have numbers that end alike; it listens from the first pull on."""

    def __init__(self, connection: Connection, asker: str, random_bytes: Callable[[int], bytes]) -> None:
        self._end = encode_id(random_bytes(CONNECTION_BYTES))
        super().__init__(delivery_subject(asker, f"*.{self._end}"))
        self._connection = connection
        self._random = random_bytes
        self._pulls: dict[str, _Arriving] = {}
        self._lock = asyncio.Lock()
        self._listens = False

    @asynccontextmanager
    async def pull(self) -> AsyncIterator[tuple[str, Listening]]:
        """A fresh number, and what comes under it in the block.

        Raises:
            BrokerUnavailableError: there is no connection.
        """
        async with self._lock:
            if not self._listens:
                await self._connection.listen(self)
                self._listens = True
        number = encode_id(self._random(NUMBER_BYTES))
        self._pulls[number] = arriving = _Arriving(self.subject)
        try:
            yield f"{number}.{self._end}", arriving
        finally:
            del self._pulls[number]

    async def take(self, message: Msg) -> None:
        """Hand a message to its pull; what comes for one that was broken off is dropped."""
        pull = self._pulls.get(message.subject.split(".")[-2])
        if pull is not None:
            await pull.take(message)

    def lose(self, error: StorageError) -> None:
        if isinstance(error, NotPermittedError):
            self._listens = False  # the next pull tries again, and is told again
        for pull in self._pulls.values():
            pull.lose(error)


class _Arriving(Listening):
    """What comes for one pull. The plane sends two windows at most before it is asked for more (decision 0010)."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject)
        self._waiting = 0

    async def take(self, message: Msg) -> None:
        self._waiting += len(message.data) + _MESSAGE_BYTES
        if self._waiting <= _MOST_WAITING_BYTES:
            await super().take(message)
        elif self._waiting - len(message.data) - _MESSAGE_BYTES <= _MOST_WAITING_BYTES:  # once
            self.lose(StorageError("More came than was asked for; pull again, or ask for another resource_url"))

    async def next(self, seconds: float | None) -> Msg:
        message = await super().next(seconds)
        self._waiting -= len(message.data) + _MESSAGE_BYTES
        return message
