"""An upstream: a duplex connection of lines, each a JSON-RPC message, to a server of any kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Upstream(Protocol):
    """A connection to a server: lines go in by `write`, and its messages come out of `pieces`."""

    code: int
    """The exit code, once it has ended; 0 if it has none."""

    async def write(self, line: bytes) -> None:
        """Send a line, which ends with a line feed; ignored after the end."""

    def close_input(self) -> None:
        """Say that no more lines follow."""

    def pieces(self) -> AsyncIterator[bytes]:
        """What the server sends, in pieces of any size, until it ends."""


Open = Callable[[], AbstractAsyncContextManager[Upstream]]
"""Opens a connection for the time of a block. Entering raises UpstreamError if the server is not there."""
