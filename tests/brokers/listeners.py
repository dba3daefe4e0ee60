"""What listens on a port and is no NATS, or no NATS with TLS; it keeps every byte that comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PLAIN_INFO = (
    b'INFO {"server_id":"X","version":"2.11.0","proto":1,"headers":true,"max_payload":1048576,"auth_required":true,'
    b'"nonce":"YWJjZGVmZ2hpams","connect_urls":["127.0.0.1:1"],"tls_available":false}\r\n'
)


@dataclass
class Listener:
    greeting: bytes = b""
    answer: bytes = b""
    closes: bool = False
    port: int = 0
    heard: bytearray = field(default_factory=bytearray)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError):
            writer.write(self.greeting)
            while not self.closes and (data := await reader.read(4096)):
                self.heard += data
                writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def listening(greeting: bytes = b"", answer: bytes = b"", *, closes: bool = False) -> AsyncIterator[Listener]:
    listener = Listener(greeting, answer, closes)
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
