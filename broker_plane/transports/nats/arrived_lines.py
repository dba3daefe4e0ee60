"""Lines for a client that have arrived, until it reads them."""

from __future__ import annotations

import asyncio

from broker_plane.exchange.lines import outline
from broker_plane.plane.redacted_logs import redacted_logger

log = redacted_logger(__name__)

_LINE_BYTES = 256
"""The least memory that a line occupies."""


class ArrivedLines:
    """A queue that drops notifications once too much waits. Answers and requests are kept."""

    def __init__(self, most_bytes: int) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._most_bytes = most_bytes
        self._held = 0
        self._dropped = False

    @property
    def is_empty(self) -> bool:
        return self._lines.empty()

    def put(self, line: bytes) -> None:
        """Put a line in."""
        if self._held + len(line) > self._most_bytes and outline(line).id is None:
            if not self._dropped:
                self._dropped = True
                log.warning("The client does not read its notifications; they are dropped")
            return
        self._held += len(line) + _LINE_BYTES
        self._lines.put_nowait(line)

    def wake(self) -> None:
        """Give an empty line to the reader, if there is no other."""
        if self._lines.empty():
            self._held += _LINE_BYTES
            self._lines.put_nowait(b"")

    async def get(self) -> bytes:
        line = await self._lines.get()
        self._held -= len(line) + _LINE_BYTES
        return line
