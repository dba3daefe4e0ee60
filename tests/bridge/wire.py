"""Raw HTTP over sockets: readers that stop, hang up and reset as no HTTP client can be made to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from starlette.types import Receive, Scope, Send

from broker_plane.web.delivery import EXTENSION, Delivery

PATIENCE = 20
"""Seconds after which a test gives up; nothing is measured by it."""


class Reader:
    """One connection of a reader, with a small receive buffer so that what it did not read stays on the way."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def connect(cls, port: int, receive_buffer: int = 65_536) -> Self:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return cls(sock)

    async def send(self, raw: bytes) -> None:
        await asyncio.wait_for(self._loop.sock_sendall(self.socket, raw), PATIENCE)

    async def get(self, path: str = "/", headers: str = "") -> None:
        await self.send(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n".encode())

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer if the server ends the connection."""
        raw = bytearray()
        while len(raw) < size:
            piece = await asyncio.wait_for(self._loop.sock_recv(self.socket, min(65_536, size - len(raw))), PATIENCE)
            if not piece:
                break
            raw += piece
        return bytes(raw)

    async def read_head(self) -> bytes:
        """The head of an answer, up to and including its empty line."""
        raw = b""
        while not raw.endswith(b"\r\n\r\n"):
            piece = await self.read(1)
            assert piece, raw
            raw += piece
        return raw

    async def read_to_end(self) -> bytes:
        """Everything until the server ends the connection, by FIN or by a reset."""
        raw = b""
        try:
            while piece := await self.read(65_536):
                raw += piece
        except ConnectionResetError:
            pass
        return raw

    def take_all(self) -> int:
        """Leave the receive buffer empty; how many bytes were in it."""
        taken = 0
        with suppress(BlockingIOError):
            while piece := self.socket.recv(65_536):
                taken += len(piece)
        return taken

    def close(self) -> None:
        """FIN if everything that came was read; the kernel resets otherwise."""
        self.socket.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Answer:
    """An application that answers every request with `size` bytes and keeps what became of it."""

    def __init__(self, size: int, piece: int = 262_144, *, arm: bool = True) -> None:
        self.size = size
        self.piece = piece
        self.arm = arm
        self.deliveries: list[Delivery] = []
        self.changed = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        delivery: Delivery = scope["extensions"][EXTENSION]
        if self.arm:
            delivery.arm()
        self.deliveries.append(delivery)
        self._tell()
        fields = [(b"content-length", str(self.size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        sent = 0
        while True:
            piece = bytes(min(self.piece, self.size - sent))
            sent += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": sent < self.size})
            delivery.sent(len(piece), sent / self.size)
            if sent == self.size or delivery.decided is not None:
                break
        if self.arm:
            await delivery.outcome()
            self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until `condition` holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self.changed.wait()


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until `condition` holds, where nothing tells of it."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.005)
