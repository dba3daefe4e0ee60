"""A server behind a carrier: its requests are answered by an upstream of any kind, with large results as bodies.

The one rule: a carrier passes messages on, and the host knows what each era needs. Requests of 2026-07-28 share one
upstream (`proxy/self_contained.py`). A session of the handshake era has an upstream of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request

from broker_plane.config import Settings, load_settings
from broker_plane.proxy.command import Write
from broker_plane.proxy.connection import ProxyConnection
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES, each_line
from broker_plane.proxy.messages import Message, failed, is_key, parse
from broker_plane.proxy.messages import is_self_contained as is_self_contained
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.rules import ProxyRules
from broker_plane.proxy.run import connected_rules
from broker_plane.proxy.self_contained import SelfContained
from broker_plane.proxy.upstream import Open, Upstream
from broker_plane.wire import json_rpc
from broker_plane.wire.exact_json import is_unicode

_HALF_PAIR = "The request has half of a surrogate pair, which is no text"
"""Servers of the SDK drop such a request, and never answer it."""


@asynccontextmanager
async def server_host(
    open_upstream: Open, options: ProxyOptions | None = None, settings: Settings | None = None
) -> AsyncIterator[ServerHost]:
    """A host of the upstream for the time of the block. Large results become bodies of the plane that `settings` name.

    Without `options`, the server's tools are the only ones.

    Raises:
        ConfigError: an option or a setting is wrong.
    """
    settings = settings or load_settings()
    async with connected_rules(options or ProxyOptions(reads=False), settings) as rules:
        host = ServerHost(open_upstream, rules, settings.max_proxy_message_bytes)
        try:
            yield host
        finally:
            await host.close()


class ServerHost:
    """Answers the requests that a carrier passes on."""

    def __init__(self, open_upstream: Open, rules: ProxyRules, line_bytes: int = DEFAULT_LINE_BYTES) -> None:
        self._open_upstream = open_upstream
        self._rules = rules
        self._line_bytes = line_bytes
        self._contained = SelfContained(rules, open_upstream, line_bytes)

    async def close(self) -> None:
        """End the upstream of self-contained requests. Sessions end with their blocks."""
        await self._contained.close()

    def interrupt(self) -> None:
        """Requests that end from now on before their answer go on at another process: the server does not learn that
        they were cancelled, and only that its input ends."""
        self._contained.interrupt()

    @asynccontextmanager
    async def request(self, message: Message) -> AsyncIterator[AsyncGenerator[Message, None]]:
        """Send a self-contained request; yields its messages, of which the answer is the last.

        A block that ends before the answer cancels the request. A request that is not valid is answered with an error.

        Raises:
            UpstreamError: the upstream cannot be opened, or ended before it answered. The messages raise it, too.
        """
        refusal = refusal_of(message)
        if refusal is not None:
            async with aclosing(_only(refusal)) as messages:
                yield messages
            return
        async with self._contained.request(message) as messages:
            yield messages

    @asynccontextmanager
    async def session(self, to_client: Write) -> AsyncIterator[HostedSession]:
        """Open an upstream for one session of the handshake era. `to_client` gets each line that the client is sent.

        Raises:
            UpstreamError: the upstream cannot be opened.
        """
        async with self._open_upstream() as upstream:
            session = HostedSession(self._rules, upstream, to_client, self._line_bytes)
            try:
                yield session
            finally:
                await session.close()


class HostedSession:
    """A session of the handshake era. Every request of the client is answered, if need be with an error."""

    def __init__(self, rules: ProxyRules, upstream: Upstream, to_client: Write, line_bytes: int) -> None:
        self._upstream = upstream
        self._line_bytes = line_bytes
        self._connection = ProxyConnection(rules, upstream.write, to_client, strict=True)
        self._reading = asyncio.create_task(self._read())

    async def from_client(self, line: bytes) -> None:
        """Pass on a line of the client, which ends with a line feed."""
        if self._reading.done():
            await self._connection.refuse(line, "the server has ended")
        elif b"\\u" in line and not is_unicode(parse(line)):
            await self._connection.refuse(line, _HALF_PAIR)
        else:
            await self._connection.from_client(line)

    @property
    def waits(self) -> bool:
        """Whether a request waits for its answer."""
        return self._connection.unsettled

    async def settled(self, seconds: float) -> None:
        """Wait up to `seconds` until every request is answered."""
        await self._connection.settled(seconds)

    async def ended(self) -> None:
        """Wait until the upstream has ended. The requests that waited for it were answered with errors."""
        await asyncio.wait([self._reading])

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        connection = self._connection
        pieces, too_long = self._upstream.pieces(), connection.long_from_upstream
        await each_line(pieces, connection.from_upstream, most=self._line_bytes, too_long=too_long)
        await connection.upstream_ended()


def refusal_of(message: Message) -> Message | None:
    """The error that answers a request which is not a valid one of 2026-07-28; None if it is one.

    One such request would decide the era of the upstream that all requests share.
    """
    key = message.get("id")
    if not is_key(key) or not isinstance(message.get("method"), str):
        return failed(key if is_key(key) else None, "This is not a request", json_rpc.INVALID_REQUEST)
    if message["method"] == "initialize":
        return failed(key, "initialize opens a session; send it without the envelope", json_rpc.INVALID_REQUEST)
    if not is_unicode(message):
        return failed(key, _HALF_PAIR, json_rpc.INVALID_REQUEST)
    verdict = classify_inbound_request(message)
    if not isinstance(verdict, InboundLadderRejection):
        return None
    error: dict[str, Any] = {"code": verdict.code, "message": verdict.message}
    return {"jsonrpc": "2.0", "id": key, "error": error if verdict.data is None else error | {"data": verdict.data}}


async def _only(message: Message) -> AsyncGenerator[Message, None]:
    yield message
