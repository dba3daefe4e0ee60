"""The deliveries to one puller on one connection. All its pulls share one subscription: a subscription of its own
would cost more than the pull of a small body, which arrives in the answer and needs none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import NotPermittedError, StorageError
from broker_plane.wire.names import encode_id
from broker_plane.wire.presigned import CONNECTION_BYTES, NUMBER_BYTES

_MAX_WAITING_BYTES = 32 << 20
_MESSAGE_BYTES = 1024
"""Memory that a message uses besides its data."""


class Arrivals(Subscription):
    """The deliveries on `connection`. The numbers of its pulls end alike; it subscribes at the first pull."""

    def __init__(self, connection: Connection, asker: str, random_bytes: Callable[[int], bytes]) -> None:
        self._end = encode_id(random_bytes(CONNECTION_BYTES))
        super().__init__(connection.names.delivery_subject(asker, f"*.{self._end}"))
        self._connection = connection
        self._random = random_bytes
        self._pulls: dict[str, _PullArrivals] = {}
        self._lock = asyncio.Lock()
        self._subscribed = False

    @asynccontextmanager
    async def pull(self) -> AsyncIterator[tuple[str, Subscription]]:
        """A fresh number, and what arrives under it during the block.

        Raises:
            BrokerUnavailableError: there is no connection.
        """
        if not self._subscribed:
            async with self._lock:
                if not self._subscribed:
                    await self._connection.keep_subscribed(self)
                    self._subscribed = True
        number = encode_id(self._random(NUMBER_BYTES))
        self._pulls[number] = arriving = _PullArrivals(self.subject)
        try:
            yield f"{number}.{self._end}", arriving
        finally:
            del self._pulls[number]

    def take(self, message: Message) -> None:
        """Pass a message to its pull; messages for a cancelled pull are dropped."""
        pull = self._pulls.get(message.subject.split(".")[-2])
        if pull is not None:
            pull.take(message)

    def lose(self, error: StorageError) -> None:
        if isinstance(error, NotPermittedError):
            self._subscribed = False  # the next pull tries again, and fails again with the reason
        for pull in self._pulls.values():
            pull.lose(error)


class _PullArrivals(Subscription):
    """The messages for one pull. The plane sends at most two windows before more is requested (decision 0010)."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject)
        self._waiting = 0

    def take(self, message: Message) -> None:
        self._waiting += len(message.data) + _MESSAGE_BYTES
        if self._waiting <= _MAX_WAITING_BYTES:
            super().take(message)
        elif self._waiting - len(message.data) - _MESSAGE_BYTES <= _MAX_WAITING_BYTES:  # only once
            self.lose(StorageError("More arrived than was requested; pull again, or get another resource_url"))

    async def next(self, seconds: float | None) -> Message:
        message = await super().next(seconds)
        self._waiting -= len(message.data) + _MESSAGE_BYTES
        return message
