"""Servers on loopback that generated code talks to: they record what came, and answer as a test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """A request: header names in lower case, in the order in which they came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The values of a header, joined; None if it did not come."""
        found = [value for each, value in self.headers if each == name]
        return ", ".join(found) if found else None

    @property
    def text(self) -> bytes:
        """The request as it came, near enough to find a credential in it."""
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Endpoint:
    """A server, the requests that it got, and the number of connections to it."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def said(body: bytes, status: int = 200, *headers: tuple[str, str]) -> Answer:
    """An answer with a length."""

    async def answer(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body, status, *headers))

    return answer


def response(body: bytes, status: int = 200, *headers: tuple[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def echoed(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The request as the body, and its Authorization in a header."""
    writer.write(response(asked.text, 200, ("x-seen", asked.header("authorization") or "")))


@asynccontextmanager
async def endpoint(
    answer: Answer = echoed, *, context: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Endpoint]:
    """An HTTP server."""
    found = Endpoint()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                asked = await _request(reader)
                found.asked.append(asked)
                await answer(asked, writer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=context)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line)]
    length = next((int(value) for name, value in headers if name == "content-length"), 0)
    return Asked(method, target, headers, await reader.readexactly(length))


@asynccontextmanager
async def tcp(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Endpoint]:
    """A TCP server."""
    found = Endpoint()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
