"""The proxy as an HTTP endpoint before a Streamable HTTP server: requests and answers pass with their headers.

Sessions, the eras of the protocol, resumption and authorization are between the client and the upstream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import orjson

from broker_plane.errors import ConfigError
from broker_plane.plane.quiet import quiet_logger
from broker_plane.proxy.asgi import LOOPBACK, Headers, Receive, Scope, Send, admitted, answer, while_connected
from broker_plane.proxy.relay import Asked, Message, RefusedCall, Relay, is_answer, parse
from broker_plane.proxy.sse import Events, data_of, with_data

log = quiet_logger(__name__)

_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
_NOT_ON = _HOP | {b"host", b"content-length", b"accept-encoding"}
_NOT_BACK = _HOP | {b"content-length", b"content-encoding", b"date", b"server"}
_VERSION = b"mcp-protocol-version"
_SESSION = b"mcp-session-id"
_MOST_WAITING = 10_000


class HttpRelay:
    """An ASGI application. With `only_loopback` a foreign Host is refused (421), and a foreign Origin (403)."""

    def __init__(
        self,
        relay: Relay,
        upstream: str,
        client: httpx2.AsyncClient,
        *,
        only_loopback: bool,
        credentials: Mapping[str, str],
    ) -> None:
        self._relay = relay
        self._upstream = upstream
        self._client = client
        self._only_loopback = only_loopback
        self._credentials = [(name.lower().encode(), value.encode()) for name, value in credentials.items()]
        self._not_on = _NOT_ON | {name for name, _ in self._credentials}
        self._waiting: dict[tuple[bytes, Any], Asked] = {}
        """Requests of sessions, for answers that come on another stream of the same session."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        raw = await admitted(scope, receive, send, only_loopback=self._only_loopback)
        if raw is None:
            return
        message = parse(raw) if scope["method"] == "POST" else None
        asked = self._asked(message, headers)
        if message is not None and self._relay.needs_change(message):
            try:
                raw = orjson.dumps(await self._relay.changed(message))
            except RefusedCall as refused:
                await answer(send, 200, [(b"content-type", b"application/json")], orjson.dumps(refused.answer))
                return
        await while_connected(receive, self._forward(scope, raw, message, asked, send))

    def _asked(self, message: Message | None, headers: dict[bytes, bytes]) -> Asked | None:
        if message is None or "id" not in message or "method" not in message:
            return None
        asked = self._relay.asked(message, headers.get(_VERSION, b"").decode("latin-1"))
        session = headers.get(_SESSION)
        if asked is not None and session is not None:
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.pop(next(iter(self._waiting)))
            self._waiting[session, message["id"]] = asked
        return asked

    async def _forward(
        self, scope: Scope, raw: bytes, message: Message | None, asked: Asked | None, send: Send
    ) -> None:
        on = [(name, value) for name, value in scope["headers"] if name not in self._not_on]
        query = scope["query_string"].decode("latin-1")
        url = f"{self._upstream}?{query}" if query else self._upstream
        request = self._client.build_request(
            scope["method"],
            url,
            headers=[*on, *self._credentials, (b"accept-encoding", b"identity")],
            content=raw or None,
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.TransportError as error:
            log.warning("The upstream cannot be reached: %s", type(error).__name__)
            await answer(send, 502, [], b"")
            return
        try:
            back = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in _NOT_BACK]
            session = dict(scope["headers"]).get(_SESSION, b"")
            kind = response.headers.get("content-type", "").partition(";")[0].strip()
            if kind == "text/event-stream":
                await self._stream(response, back, message, asked, session, send)
            else:
                whole = await response.aread()
                if kind == "application/json":
                    whole = await self._changed(whole, message, asked, session)
                await answer(send, response.status_code, back, whole)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _stream(
        self,
        response: httpx2.Response,
        back: Headers,
        message: Message | None,
        asked: Asked | None,
        session: bytes,
        send: Send,
    ) -> None:
        await send({"type": "http.response.start", "status": response.status_code, "headers": back})
        events = Events()
        async for piece in response.aiter_raw():
            for event in events.feed(piece):
                data = data_of(event)
                new = await self._changed(data, message, asked, session)
                passed = event if new is data else with_data(event, new)
                await send({"type": "http.response.body", "body": passed, "more_body": True})
        await send({"type": "http.response.body", "body": events.end(), "more_body": False})

    async def _changed(self, raw: bytes, message: Message | None, asked: Asked | None, session: bytes) -> bytes:
        """The same bytes where there is nothing to change."""
        if not raw or (asked is None and not self._waiting):
            return raw
        found = parse(raw)
        if found is None or not is_answer(found):
            return raw
        waiting = self._waiting.pop((session, found["id"]), None) if session else None
        if message is None or asked is None or found["id"] != message.get("id"):
            asked = waiting
        if asked is None:
            return raw
        if not self._relay.concerns(asked, found, len(raw)):
            self._relay.learn(asked, found)
            return raw
        return orjson.dumps(await self._relay.answered(asked, found))


@asynccontextmanager
async def serving(
    relay: Relay, upstream: str, host: str, port: int, credentials: Mapping[str, str]
) -> AsyncIterator[str]:
    """Serve for the time of the block; yields the URL for clients. `credentials` are headers for the upstream alone.

    Raises:
        PortInUseError, ConfigError: the address cannot be served.
    """
    from broker_plane.bridge.serve import BridgeServer  # a proxy on standard streams needs no web server

    check_url(upstream, credentials)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
    timeout = httpx2.Timeout(None, connect=10.0)
    async with httpx2.AsyncClient(timeout=timeout, limits=limits, trust_env=False) as client:
        app = HttpRelay(relay, upstream, client, only_loopback=host in LOOPBACK, credentials=credentials)
        async with BridgeServer(app, host, port, stop_seconds=1, deliveries=False) as server:
            yield f"{server.url}/mcp"


def check_url(upstream: str, credentials: Mapping[str, str]) -> None:
    """Refuses what is no URL, and a connection that shows credentials to the network."""
    parts = urlsplit(upstream)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{upstream!r} is no URL of an MCP server, such as http://127.0.0.1:8000/mcp")
    if credentials and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigError("--header-env needs an https URL: over http the network reads the credentials")
