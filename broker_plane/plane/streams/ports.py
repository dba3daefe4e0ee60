"""The port of streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from broker_plane.wire.streams import StreamInfo, StreamItem


class StreamLog(Protocol):
    """The unacknowledged items of each stream, by number."""

    async def create(self, stream: StreamInfo, seconds: int) -> None:
        """Create the stream. Items that nobody acknowledges are deleted after `seconds`."""

    async def find(self, stream_id: str) -> StreamInfo:
        """Return a stream.

        Raises:
            BodyNotFoundError: it has ended, or never existed.
        """

    async def append(self, stream: StreamInfo, item: StreamItem) -> None:
        """Store the item under its number; wait while the buffer is full.

        Raises:
            ConflictError: another publisher writes to the stream.
            BrokerUnavailableError: the outcome is unknown; append it again, it is stored once.
            BodyNotFoundError: the stream has ended.
        """

    def read(self, stream: StreamInfo, after: int) -> AsyncGenerator[StreamItem, None]:
        """Yield the items after number `after` that are stored now.

        Raises:
            LeaseLostError: some were deleted, because they were acknowledged or have expired.
        """

    def follow(self, stream: StreamInfo, after: int) -> AsyncGenerator[StreamItem, None]:
        """Yield the items after number `after` as they are published, up to the end. Raises as `read`."""

    async def ack(self, stream: StreamInfo, number: int) -> bool:
        """Delete the items up to `number`; with the last one the stream is deleted. Return whether that was the last.

        Raises:
            LeaseLostError: no item of this number was published yet.
        """
