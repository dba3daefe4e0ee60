"""A TCP proxy on loopback that simulates network faults: it cuts connections off, and slows them down."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PIECE_BYTES = 1 << 16
"""Maximum number of bytes that the proxy buffers a connection, besides the equally small buffers of the kernel."""

_RESET = struct.pack("ii", 1, 0)


class CuttingProxy:
    """`async with CuttingProxy(url, cuts=[10_000]) as proxy:` passes on what comes to `proxy.url`.

    Each entry of `cuts` cuts off one connection: the first that has been answered with that many bytes. The next entry
    waits for the next such connection. The cuts are a reset and an orderly end by turns. `request_cuts` does the same
    by the bytes of what is asked. `bytes_per_second` limits the rate of an answer, `asked_per_second` that of what is
    asked; 0 is no limit, and both may be changed at any time.
    """

    def __init__(
        self,
        target: str,
        *,
        cuts: Iterable[int] = (),
        request_cuts: Iterable[int] = (),
        bytes_per_second: float = 0,
        asked_per_second: float = 0,
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._cuts = deque(cuts)
        self._request_cuts = list(request_cuts)
        self.bytes_per_second = bytes_per_second
        self.asked_per_second = asked_per_second
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.url = ""
        self.connections = 0
        """Connections made in all."""
        self.cut = 0
        """Connections that were cut."""
        self.received = 0
        """Bytes received from the target, passed on or not."""
        self.asked = 0
        """Bytes sent to the target."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE_BYTES)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE_BYTES)
        upstream = await self._dial()
        asking = asyncio.create_task(self._ask(reader, upstream[1], writer))
        try:
            with suppress(ConnectionError):
                await self._answer(upstream[0], writer)
        finally:
            asking.cancel()
            upstream[1].transport.abort()
            writer.close()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE_BYTES)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self._target)
        return await asyncio.open_connection(sock=sock, limit=PIECE_BYTES)

    async def _ask(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        asked = 0
        with suppress(ConnectionError):
            while piece := await reader.read(PIECE_BYTES):
                asked += len(piece)
                if self._request_cuts and asked > self._request_cuts[0]:
                    piece = piece[: self._request_cuts.pop(0) - asked]
                    upstream.write(piece)
                    self.asked += len(piece)
                    await upstream.drain()
                    upstream.close()
                    self._cut_off(writer)
                    return
                upstream.write(piece)
                self.asked += len(piece)
                await upstream.drain()
                if self.asked_per_second:
                    await asyncio.sleep(len(piece) / self.asked_per_second)
            upstream.write_eof()

    async def _answer(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered = 0
        while piece := await upstream.read(PIECE_BYTES):
            self.received += len(piece)
            answered += len(piece)
            if self._cuts and answered >= self._cuts[0]:
                over = answered - self._cuts.popleft()
                writer.write(piece[: max(0, len(piece) - over)])
                await writer.drain()
                self._cut_off(writer)
                return
            writer.write(piece)
            await writer.drain()
            if self.bytes_per_second:
                await asyncio.sleep(len(piece) / self.bytes_per_second)

    def _cut_off(self, writer: asyncio.StreamWriter) -> None:
        self.cut += 1
        if self.cut % 2:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        else:
            writer.close()
