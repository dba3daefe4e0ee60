"""What the application of a WebSocket can do beyond ASGI: write encoded frames to many readers, and see who is slow.

ASGI's `send` encodes a message for each reader, and waits for a slow one. A server that sends one event to a thousand
readers encodes it once (web/frames.py), writes it without waiting, and drops readers with too much unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Scope

EXTENSION = "broker_plane.socket"
"""The key in `scope["extensions"]` of a WebSocket under web/upgrade.py."""


class SocketConnection(Protocol):
    """The connection below a Socket: web/upgrade.py, or what a test puts in its place."""

    transport: asyncio.Transport

    @property
    def is_open(self) -> bool:
        """Whether the handshake is complete and no close frame was sent."""

    def limit_messages(self, most_bytes: int) -> None:
        """Close the connection (1009) if its reader sends a larger message."""

    def end(self, code: int, reason: str) -> None:
        """Send a close frame now, and cut the connection if the reader does not answer it."""


class Socket:
    """One reader."""

    def __init__(self, connection: SocketConnection) -> None:
        self._connection = connection
        self._writable = asyncio.Event()
        self._writable.set()
        self.on_drained: Callable[[], Any] | None = None
        """Called when the reader has caught up after `buffered` was high."""

    @property
    def buffered(self) -> int:
        """Bytes that are written and not yet accepted by the kernel; the reader has at least these unread."""
        return self._connection.transport.get_write_buffer_size()

    @property
    def is_open(self) -> bool:
        """Whether frames can be written."""
        return self._connection.is_open

    def write(self, frame: bytes) -> None:
        """Write an encoded frame, without waiting. Nothing happens once the connection is closing."""
        if self._connection.is_open:
            self._connection.transport.write(frame)

    async def drained(self) -> None:
        """Wait until the reader has taken most of what was written, or has left."""
        await self._writable.wait()

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, however much is unread. `reason` is at most 123 bytes of UTF-8 (RFC 6455, 5.5)."""
        self._connection.end(code, reason)

    def limit_messages(self, most_bytes: int) -> None:
        """Permit messages of up to `most_bytes` instead of the server's default."""
        self._connection.limit_messages(most_bytes)

    def pause(self) -> None:
        """Called by the connection: a lot is unread."""
        self._writable.clear()

    def resume(self) -> None:
        """Called by the connection: the reader has caught up, or has left."""
        self._writable.set()
        if self.on_drained is not None:
            self.on_drained()


def socket_of(scope: Scope) -> Socket:
    """The socket of a WebSocket's scope."""
    socket: Socket = scope["extensions"][EXTENSION]
    return socket
