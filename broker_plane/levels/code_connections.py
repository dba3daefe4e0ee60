"""What code has open: the rest of an HTTP response, or a TCP connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import cache
from typing import Protocol

import httpx2

from broker_plane.client.capped import decoded
from broker_plane.client.guard import RequestTarget
from broker_plane.sandbox.ports import DoorFailedError, DoorRefusedError
from broker_plane.transfer.secret_filter import SecretFilter

_BUFFER_BYTES = 1 << 18


class CodeConnection(Protocol):
    """Something that code reads from, and may write to."""

    async def receive(self, at_most: int) -> bytes:
        """The next 1 to `at_most` bytes; empty at the end."""

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""

    async def aclose(self) -> None:
        """Close it at once, without waiting for the other side."""


class ResponseConnection:
    """The body of a response, decoded and without the credential."""

    def __init__(self, response: httpx2.Response, secrets: SecretFilter, most: int) -> None:
        self._response = response
        self._pieces = filtered(decoded(response, most), secrets)
        self._piece = b""
        self._broken = False

    async def receive(self, at_most: int) -> bytes:
        """As `CodeConnection.receive`.

        Raises:
            DoorFailedError: an earlier call failed; what the response lacks since then is not its end.
        """
        if self._broken:
            raise DoorFailedError("The response broke off before; request it again")
        if not self._piece:
            self._broken = True
            self._piece = await anext(self._pieces, b"")
            self._broken = False
        taken, self._piece = self._piece[:at_most], self._piece[at_most:]
        return taken

    async def send(self, data: bytes) -> None:
        """Refuse: a response is only read.

        Raises:
            DoorRefusedError.
        """
        raise DoorRefusedError("This handle is a response of open_url, which is only read; use connect to send")

    async def aclose(self) -> None:
        """As `CodeConnection.aclose`."""
        await self._pieces.aclose()
        await self._response.aclose()


class TcpConnection:
    """A TCP connection, over TLS or plain."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, target: RequestTarget) -> TcpConnection:
        """Connect to a checked address; TLS is verified against the target's name."""
        secure = {"ssl": _verifying(), "server_hostname": target.host} if target.encrypted else {}
        return cls(
            *await asyncio.open_connection(target.address, target.port, limit=_BUFFER_BYTES, **secure)  # type: ignore[arg-type]
        )

    async def receive(self, at_most: int) -> bytes:
        """As `CodeConnection.receive`."""
        return await self._reader.read(at_most)

    async def send(self, data: bytes) -> None:
        """As `CodeConnection.send`."""
        self._writer.write(data)
        await self._writer.drain()

    async def aclose(self) -> None:
        """As `CodeConnection.aclose`; what was sent is still transmitted."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.5):
                await self._writer.wait_closed()
        self._writer.transport.abort()


async def filtered(pieces: AsyncGenerator[bytes, None], secrets: SecretFilter) -> AsyncGenerator[bytes, None]:
    """`pieces` without the secrets."""
    async with aclosing(pieces):
        async for piece in pieces:
            if clean := secrets.feed(piece):
                yield clean
    if rest := secrets.end():
        yield rest


@cache
def _verifying() -> ssl.SSLContext:
    """A context without ALPN; the HTTP client sets that on the one that it is given."""
    return ssl.create_default_context()
