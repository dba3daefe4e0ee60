"""Subscriptions, and what arrives on them, as queues that a reader waits on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import nats.errors
from nats.aio.subscription import Subscription as NatsSubscription

from broker_plane.broker.client import NatsClient
from broker_plane.broker.errors import NO_ANSWER, unavailable
from broker_plane.broker.messages import Message
from broker_plane.errors import StorageError

Served = NatsSubscription
"""The underlying subscription of nats-py, to end it."""


class Subscription:
    """The messages of one subscription. A break of the connection is an error between two messages."""

    def __init__(self, subject: str, arrived: Callable[[Message], None] | None = None, *, queued: bool = True) -> None:
        """`arrived` is called with each message before anybody reads it; if not `queued`, nobody does."""
        self.subject = subject
        self._arrived = arrived
        self._queued = queued
        self._messages: asyncio.Queue[Message | StorageError] = asyncio.Queue()

    def take(self, message: Message) -> None:
        """Queue a message for the reader."""
        if self._arrived is not None:
            self._arrived(message)
        if self._queued:
            self._messages.put_nowait(message)

    def lose(self, error: StorageError) -> None:
        """Tell the reader that messages are lost from here on, so that it need not wait for a time-out."""
        self._messages.put_nowait(error)

    async def next(self, seconds: float | None) -> Message:
        """The next message, within `seconds`; None waits without a limit.

        Raises:
            BrokerUnavailableError: the connection broke, or nothing came in time.
            NotPermittedError: this user may not subscribe there.
        """
        try:
            if seconds is None or not self._messages.empty():
                message = await self._messages.get()
            else:
                async with asyncio.timeout(seconds):
                    message = await self._messages.get()
        except TimeoutError as error:
            raise unavailable(error, NO_ANSWER) from error
        if isinstance(message, StorageError):
            raise message
        return message

    def unread(self) -> list[Message]:
        """Take the messages that have arrived and that nobody has read."""
        left = [self._messages.get_nowait() for _ in range(self._messages.qsize())]
        return [message for message in left if not isinstance(message, StorageError)]


class Subscriptions:
    """The subscriptions of one connection."""

    def __init__(self, client: NatsClient) -> None:
        self._client = client
        self._open: dict[Subscription, Served] = {}

    async def add(self, subscription: Subscription) -> Served:
        """Queue what arrives on its subject, for as long as the connection lives."""
        added = await self._client.listen(subscription.subject, subscription.take)
        self._open[subscription] = added
        return added

    @asynccontextmanager
    async def opened(self, subscription: Subscription) -> AsyncIterator[None]:
        """As `add`, for the time of the block."""
        added = await self.add(subscription)
        try:
            yield
        finally:
            self._open.pop(subscription, None)
            with suppress(nats.errors.Error):
                await added.unsubscribe()

    async def drain(self, subscription: Subscription) -> list[Message]:
        """End the delivery, and take everything that nobody has read, also what was on its way."""
        with suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
            await self._client.stop_delivery(self._open[subscription])
        return subscription.unread()

    async def remove(self, added: Sequence[Served]) -> None:
        """Unsubscribe, and wait until the server knows; one that does not answer will notice by itself."""
        with suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
            for subscription in added:
                await subscription.unsubscribe()
        await self.known()

    async def known(self) -> None:
        """Wait until the server knows what was subscribed and unsubscribed; one that is away learns it later."""
        with suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
            await asyncio.sleep(0)  # nats-py writes its PING before what is still in its queue
            await self._client.flush(1)

    def lose(self, error: StorageError) -> None:
        """Pass `error` to every reader."""
        for subscription in self._open:
            subscription.lose(error)

    def refuse(self, subject: str, refusal: StorageError) -> None:
        """Pass `refusal` to the readers of `subject` (in lower case), to which the server does not let us subscribe."""
        for subscription in self._open:
            if subscription.subject.lower() == subject:
                subscription.lose(refusal)
