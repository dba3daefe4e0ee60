"""HTTP by hand: a connection that can be broken at any byte, by FIN or by a reset, and kept for the next request."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

from tests.model.ledger import HarnessError

PATIENCE = 20.0
_RECEIVE = 1 << 18
_LITTLE = 128
"""Bytes at a time of a head whose body is not to be read to its end: what is not read is not taken."""


@dataclass(frozen=True)
class Answer:
    """What came back. `whole` is False where the reader broke off, or the other side did."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    @property
    def code(self) -> str:
        """The code of an answer that is an error; empty for any other."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        if not self.body:  # of HEAD
            return f"HEAD {self.status}"
        return str(orjson.loads(self.body)["code"]) if self.whole else "cut"

    @property
    def fields(self) -> Any:
        return orjson.loads(self.body)

    @property
    def lease(self) -> str:
        return self.headers.get("bp-lease", "")

    @property
    def content(self) -> bytes:
        """The body without its coding, as far as it is here."""
        if self.headers.get("content-encoding") == "gzip":
            return zlib.decompressobj(31).decompress(self.body)
        return self.body


class HttpConnection:
    """One connection. `bridge` is a base URL; with a small `receive_buffer`, what is not read is not on the way."""

    def __init__(self, bridge: str, receive_buffer: int = 0) -> None:
        self.bridge = bridge
        self._receive_buffer = receive_buffer
        self._socket: socket.socket | None = None
        self._held = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fin()

    @property
    def open(self) -> bool:
        return self._socket is not None

    async def ask(
        self,
        method: str,
        path: str,
        fields: Any = None,
        *,
        raw: bytes | None = None,
        stop: int | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """The answer to a request, of whose body `stop` bytes at most are read: then the connection is of no more use.

        `fields` are sent as JSON, or `raw` as it is. Names of `headers` are written with _ for -.

        Raises:
            HarnessError: no answer.
        """
        kept = self.open
        body = raw if raw is not None else b"" if fields is None else orjson.dumps(fields)
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value]
        try:
            async with asyncio.timeout(PATIENCE):
                request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
                try:
                    return await self._ask(method, request, stop)
                except OSError:
                    if not kept or self._held:
                        raise
                    self.fin()  # it was kept for too long, and the bridge ended it
                    return await self._ask(method, request, stop)
        except (TimeoutError, OSError) as error:
            self.reset()
            raise HarnessError(f"{method}: {error!r}") from error

    def fin(self) -> None:
        """An orderly end, where all that came was read; a reset otherwise."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._held = None, b""

    def reset(self) -> None:
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.fin()

    async def _ask(self, method: str, request: bytes, stop: int | None) -> Answer:
        loop = asyncio.get_running_loop()
        if self._socket is None:
            place = urlsplit(self.bridge)
            self._socket = socket.socket()
            self._socket.setblocking(False)
            if self._receive_buffer:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            await loop.sock_connect(self._socket, (place.hostname, place.port))
        await loop.sock_sendall(self._socket, request)
        while True:
            while b"\r\n\r\n" not in self._held:
                await self._more(_RECEIVE if stop is None else _LITTLE)
            head, _, self._held = self._held.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            if not first.startswith("HTTP/1.1 1"):
                break
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split(" ")[1])
        empty = method == "HEAD" or status in (204, 304)
        body, whole = (b"", True) if empty else await self._body(headers, stop)
        if headers.get("connection") == "close" and whole:
            self.fin()
        return Answer(status, headers, body, whole)

    async def _body(self, headers: dict[str, str], stop: int | None) -> tuple[bytes, bool]:
        pieces: list[bytes] = []
        size = 0
        chunked = headers.get("transfer-encoding") == "chunked"
        left = 0 if chunked else int(headers.get("content-length", "0"))
        ended = not chunked and not left
        while not ended:
            if stop is not None and size >= stop:
                return b"".join(pieces)[:stop], False
            try:
                if chunked and not left:
                    left = int(await self._line(), 16)
                    if not left:
                        await self._line()
                        return b"".join(pieces), True
                if not self._held:
                    await self._more(_RECEIVE if stop is None else stop - size)
            except OSError:
                return b"".join(pieces), False
            piece, self._held = self._held[:left], self._held[left:]
            pieces.append(piece)
            size += len(piece)
            left -= len(piece)
            if chunked and not left:
                await self._line()
            ended = not chunked and not left
        return b"".join(pieces), True

    async def _line(self) -> bytes:
        while b"\r\n" not in self._held:
            await self._more()
        line, _, self._held = self._held.partition(b"\r\n")
        return line

    async def _more(self, most: int = _RECEIVE) -> None:
        assert self._socket is not None
        piece = await asyncio.get_running_loop().sock_recv(self._socket, min(most, _RECEIVE))
        if not piece:
            raise ConnectionResetError("the bridge ended the connection")
        self._held += piece
