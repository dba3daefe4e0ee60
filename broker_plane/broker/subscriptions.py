"""What comes on one subscription, for who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.msg import Msg

from broker_plane.broker.errors import NO_ANSWER, away
from broker_plane.errors import StorageError


class Listening:
    """The messages of one subscription. Where the connection broke, that stands among them as an error."""

    def __init__(self, subject: str, arrived: Callable[[Msg], None] | None = None) -> None:
        self.subject = subject
        self._arrived = arrived
        self._messages: asyncio.Queue[Msg | StorageError] = asyncio.Queue()

    async def take(self, message: Msg) -> None:
        if self._arrived is not None:
            self._arrived(message)
        self._messages.put_nowait(message)

    def lose(self, error: StorageError) -> None:
        """What the server sent after this is lost: whoever waits for it need not wait for a time-out."""
        self._messages.put_nowait(error)

    async def next(self, seconds: float | None) -> Msg:
        """The next message.

        Raises:
            BrokerUnavailableError: the connection broke, or nothing came in time.
            NotPermittedError: this user may not listen there.
        """
        try:
            async with asyncio.timeout(seconds):
                message = await self._messages.get()
        except TimeoutError as error:
            raise away(error, NO_ANSWER) from error
        if isinstance(message, StorageError):
            raise message
        return message
