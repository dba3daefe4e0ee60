"""A Streamable HTTP server as an upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2

from broker_plane.proxy.lines import DEFAULT_LINE_BYTES
from broker_plane.proxy.messages import Message, failed_line, is_answer, is_key, key_asked, params_of, parse, wrong_with
from broker_plane.proxy.remote import TIMEOUT, RemoteServer
from broker_plane.proxy.upstream import Open, Upstream
from broker_plane.proxy.upstream_http import check_url, client_for
from broker_plane.wire import json_rpc

_MOST_LINES = 16
"""Lines that wait for the reader. The server is not read further until it takes one."""


def url_upstream(url: str, credentials: Mapping[str, str], line_bytes: int = DEFAULT_LINE_BYTES) -> Open:
    """Connects to the server at `url`. `credentials` are headers of every request.

    Raises:
        ConfigError: the URL is invalid, or must not get credentials.
    """
    check_url(url, credentials)
    return partial(_opened, url, credentials, line_bytes)


@asynccontextmanager
async def _opened(url: str, credentials: Mapping[str, str], line_bytes: int) -> AsyncIterator[Upstream]:
    async with client_for(url, TIMEOUT) as client:
        upstream = _UrlUpstream(client, url, credentials, line_bytes)
        try:
            yield upstream
        finally:
            await upstream.close()


class _UrlUpstream:
    """The connection; it is also what the server's messages go to."""

    def __init__(self, client: httpx2.AsyncClient, url: str, credentials: Mapping[str, str], line_bytes: int) -> None:
        self.code = 0
        self._remote = RemoteServer(client, url, credentials, line_bytes, self)
        self._lines: asyncio.Queue[bytes] = asyncio.Queue(_MOST_LINES)
        self._open: set[Any] = set()
        """The ids of requests that wait for an answer."""
        self._closing = False

    async def close(self) -> None:
        await self._remote.close()

    # As an upstream.

    async def write(self, line: bytes) -> None:
        message = parse(line)
        wrong = "it is not valid JSON" if message is None else wrong_with(message)
        if message is None or wrong:
            said = f"This is not an MCP message: {wrong}"
            await self._lines.put(failed_line(key_asked(line), said, json_rpc.INVALID_REQUEST))
            return
        self._note(message)
        await self._remote.send(line, message)

    def close_input(self) -> None:
        self._closing = True
        if self._lines.empty():
            self._lines.put_nowait(b"")  # wakes the reader

    async def pieces(self) -> AsyncIterator[bytes]:
        """The lines, until the client has closed its side and nothing waits any more."""
        while not (self._closing and not self._open and self._lines.empty()):
            yield await self._lines.get()

    # What the server's messages go to.

    def waits(self, key: Any) -> bool:
        return key in self._open

    async def from_upstream(self, line: bytes) -> None:
        message = parse(line)
        if message is not None and is_answer(message) and is_key(message["id"]):
            self._open.discard(message["id"])
        await self._lines.put(line)

    async def unanswered(self, key: Any, said: str) -> None:
        self._open.discard(key)
        await self._lines.put(failed_line(key, said))

    def _note(self, message: Message) -> None:
        if message.get("method") == "notifications/cancelled":
            named = params_of(message).get("requestId")
            self._open.discard(named if is_key(named) else None)
        elif "method" in message and is_key(message.get("id")):
            self._open.add(message["id"])
