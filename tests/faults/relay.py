"""A relay on loopback that takes answers as fast as they come, as a proxy with buffers does, and cuts its clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PIECE_BYTES = 1 << 16
_QUIET_SECONDS = 0.1
"""After such a silence of the upstream all of its answer is here."""


class BufferingRelay:
    """`async with BufferingRelay(url, cuts=[10_000]) as relay:` relays what comes to `relay.url`.

    The first connections whose answers have so many bytes as `cuts` says are cut after them, when the relay has taken
    all that the upstream sends.
    """

    def __init__(self, target: str, *, cuts: Iterable[int] = ()) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._cuts: Iterator[int] = iter(cuts)
        self._next = next(self._cuts, None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.url = ""
        self.cut = 0

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
        upstream, asking = await asyncio.open_connection(*self._target, limit=PIECE_BYTES)
        held: asyncio.Queue[bytes] = asyncio.Queue()
        arrived = asyncio.Event()
        taking = asyncio.create_task(_take(upstream, held, arrived))
        requests = asyncio.create_task(_pass_on(reader, asking))
        try:
            with suppress(ConnectionError):
                await self._answer(held, arrived, writer)
        finally:
            for task in (taking, requests):
                task.cancel()
            for each in (asking, writer):
                each.close()

    async def _answer(self, held: asyncio.Queue[bytes], arrived: asyncio.Event, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while piece := await held.get():
            left = None if self._next is None else self._next - passed
            if left is not None and len(piece) >= left:
                self._next = next(self._cuts, None)
                self.cut += 1
                writer.write(piece[:left])
                await writer.drain()
                await _silence(arrived)
                return
            writer.write(piece)
            passed += len(piece)
            await writer.drain()


async def _take(upstream: asyncio.StreamReader, held: asyncio.Queue[bytes], arrived: asyncio.Event) -> None:
    piece = b"-"
    while piece:
        piece = await upstream.read(PIECE_BYTES)
        held.put_nowait(piece)
        arrived.set()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


async def _silence(arrived: asyncio.Event) -> None:
    with suppress(TimeoutError):
        while True:
            arrived.clear()
            await asyncio.wait_for(arrived.wait(), _QUIET_SECONDS)
