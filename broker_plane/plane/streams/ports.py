"""What live streams need of a broker."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from broker_plane.wire.live import Item, Live


class LiveLog(Protocol):
    """Items by stream and number."""

    async def create(self, live: Live, seconds: int) -> None:
        """The stream exists; what nobody takes is gone after `seconds`."""

    async def find(self, stream_id: str) -> Live:
        """What is known of a stream.

        Raises:
            BodyNotFoundError: it is over, or never was.
        """

    async def append(self, live: Live, item: Item) -> None:
        """Store the item with this number; waits while the reader has not taken what is before it.

        Raises:
            ConflictError: another publisher writes there. BrokerUnavailableError: do it again, it is stored once.
            BodyNotFoundError: the stream is over.
        """

    def kept(self, live: Live, after: int) -> AsyncGenerator[Item, None]:
        """The items after that number which are there now.

        Raises:
            LeaseLostError: some of them are gone, because they were taken or expired.
        """

    def follow(self, live: Live, after: int) -> AsyncGenerator[Item, None]:
        """The items after that number as they come, to the end. Raises as `kept`."""

    async def taken(self, live: Live, number: int) -> bool:
        """Free the items up to `number`. With the end the stream is gone; whether that was it."""
