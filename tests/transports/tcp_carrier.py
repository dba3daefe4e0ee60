"""A carrier as a third party may write it: exchanges over plain TCP, one JSON object a line (docs/exchanges.md).

The front passes requests to the store and messages to the callers. The caller's side is an upstream (`Open`), so
`client_streams` makes a transport for `mcp.Client` of it. A connection may break at any moment.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from broker_plane.exchange.keys import new_exchange, new_session
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.exchange.receiver import Received
from broker_plane.plane.exchanges.ports import Asked, ExchangeStore
from broker_plane.plane.exchanges.worker import ExchangeWorker
from broker_plane.transports.hosting import ServerHost
from broker_plane.wire.exact_json import dumps, loads


class TcpFront:
    """The server's side. `serve` is the callback of `asyncio.start_server`; `worker.run()` has to run meanwhile."""

    def __init__(self, store: ExchangeStore, server: str, host: ServerHost, now: Callable[[], float]) -> None:
        self._store, self._server, self._host = store, server, host
        self._callers: dict[ExchangeKey, asyncio.StreamWriter] = {}
        self.worker = ExchangeWorker(store, server, "t", self._run, self, now=now)

    async def _run(self, asked: Asked) -> AsyncGenerator[bytes, None]:
        async with self._host.request(loads(asked.line)) as messages:
            async for message in messages:
                yield dumps(message)

    async def said(self, asked: Asked, said: Said) -> None:
        frame = {"exchange": asked.key.exchange, "seq": said.seq, "last": said.last, "line": said.line.decode()}
        self._callers[asked.key].write(dumps(frame) + b"\n")

    async def alive(self, asked: Asked) -> None: ...

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            frame = loads(line)
            key = ExchangeKey(self._server, frame["session"], frame["exchange"])
            self._callers[key] = writer
            if "line" in frame:  # a caller that does not know whether it was stored sends it again
                await self._store.ask(key, frame["line"].encode(), {}, 3600)
            for said in await self._store.messages(key, frame["after"]):
                await self.said(Asked(key, b""), said)


class TcpCaller:
    """The caller's side, an `Upstream`: what is missing after a break is requested with `after`."""

    code = 0

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = new_session("t", secrets.token_bytes(16))
        self._open: dict[str, tuple[bytes, Received]] = {}
        self._writer: asyncio.StreamWriter | None = None

    async def write(self, line: bytes) -> None:
        exchange = new_exchange(secrets.token_bytes(16))
        self._open[exchange] = (line, Received())
        self._send(exchange)

    def close_input(self) -> None: ...

    def _send(self, exchange: str) -> None:
        line, received = self._open[exchange]
        frame: dict[str, Any] = {"session": self._session, "exchange": exchange, "after": received.after}
        if self._writer is not None:
            self._writer.write(dumps(frame | {"line": line.decode()}) + b"\n")

    async def pieces(self) -> AsyncIterator[bytes]:
        while True:
            with suppress(OSError):
                reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
                for exchange in self._open:
                    self._send(exchange)
                async for frame in reader:
                    for line in self._heard(loads(frame)):
                        yield line + b"\n"
            self.close()
            await asyncio.sleep(0.05)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _heard(self, frame: dict[str, Any]) -> list[bytes]:
        if frame["exchange"] not in self._open:
            return []
        received = self._open[frame["exchange"]][1]
        said = received.take(Said(frame["seq"], frame["line"].encode(), frame["last"]))
        if received.gap:
            self._send(frame["exchange"])
        if received.ended:
            del self._open[frame["exchange"]]
        return [each.line for each in said]


@asynccontextmanager
async def tcp_upstream(port: int) -> AsyncIterator[TcpCaller]:
    caller = TcpCaller(port)
    yield caller
    caller.close()
