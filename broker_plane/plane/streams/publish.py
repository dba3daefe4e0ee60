"""Publishing a live stream: items go out in order, each once, and wait for their reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_plane.errors import TooLargeError, WireError
from broker_plane.plane.retry import patiently
from broker_plane.plane.streams.ports import LiveLog
from broker_plane.tabular.json_values import dumps
from broker_plane.tabular.plain import plain_rows
from broker_plane.wire.live import MOST_ITEM_BYTES, Item, Live

_AWAY_SECONDS = 60.0


class LivePublisher:
    """Sends to one stream. Only one task at a time sends."""

    def __init__(self, live: Live, log: LiveLog) -> None:
        self.live = live
        self._log = log
        self._number = 0
        self._ended = False

    async def send(self, item: Mapping[str, Any] | bytes) -> int:
        """Store a row, or a chunk; the number that it has. Waits while the reader is `buffer_size` items behind.

        Raises:
            TabularError: a value cannot travel.
            WireError: it is no row of a stream of rows, or no bytes; or the stream has ended.
            TooLargeError: an item has at most 512 KiB. BrokerUnavailableError, BodyNotFoundError: it was not stored.
        """
        return await self._append(Item(self._number + 1, self._encoded(item)))

    async def end(self) -> None:
        """Say that nothing comes any more. Waits as `send` does."""
        if not self._ended:
            await self._append(Item(self._number + 1, b"", end=True))
            self._ended = True

    async def _append(self, item: Item) -> int:
        if self._ended:
            raise WireError("This stream has ended")
        await patiently(lambda: self._log.append(self.live, item), _AWAY_SECONDS)
        self._number = item.number
        return item.number

    def _encoded(self, item: Mapping[str, Any] | bytes) -> bytes:
        rows = self.live.kind == "rows"
        if rows is isinstance(item, (bytes, bytearray, memoryview)):
            raise WireError(f"This is a stream of {self.live.kind}")
        raw = dumps(plain_rows([item], self._number)[0]) if isinstance(item, Mapping) else bytes(item)
        if len(raw) > MOST_ITEM_BYTES:
            raise TooLargeError(f"An item of a stream has at most {MOST_ITEM_BYTES} bytes; send it in several")
        return raw
