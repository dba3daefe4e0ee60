"""Publishing a stream: items are stored in order, each once, until the reader acknowledges them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_plane.errors import TooLargeError, WireError
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.plane.streams.ports import StreamLog
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tabular.plain import plain_rows
from broker_plane.wire.streams import MAX_ITEM_BYTES, StreamInfo, StreamItem

_RETRY_SECONDS = 60.0


class StreamPublisher:
    """Publishes one stream. Only one task may send at a time."""

    def __init__(self, stream: StreamInfo, log: StreamLog) -> None:
        self.stream = stream
        self._log = log
        self._number = 0
        self._ended = False

    async def send(self, item: Mapping[str, Any] | bytes) -> int:
        """Store a row or a chunk and return its number. Waits while the reader is `buffer_size` items behind.

        Raises:
            TabularError: a value of the row cannot be encoded.
            WireError: not a row or not bytes, as the stream requires; or the stream has ended.
            TooLargeError: more than 512 KiB.
            BrokerUnavailableError, BodyNotFoundError: it was not stored.
        """
        return await self._append(StreamItem(self._number + 1, self._encoded(item)))

    async def end(self) -> None:
        """Publish the end of the stream. Waits as `send` does. Idempotent."""
        if not self._ended:
            await self._append(StreamItem(self._number + 1, b"", end=True))
            self._ended = True

    async def _append(self, item: StreamItem) -> int:
        if self._ended:
            raise WireError("This stream has ended")
        await retry_while_retryable(lambda: self._log.append(self.stream, item), _RETRY_SECONDS)
        self._number = item.number
        return item.number

    def _encoded(self, item: Mapping[str, Any] | bytes) -> bytes:
        rows = self.stream.kind == "rows"
        if rows is isinstance(item, (bytes, bytearray, memoryview)):
            raise WireError(f"This is a stream of {self.stream.kind}")
        raw = json_bytes(plain_rows([item], self._number)[0]) if isinstance(item, Mapping) else bytes(item)
        if len(raw) > MAX_ITEM_BYTES:
            raise TooLargeError(f"An item of a stream may have up to {MAX_ITEM_BYTES} bytes; split it")
        return raw
