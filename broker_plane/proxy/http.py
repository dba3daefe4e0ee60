"""The proxy as an HTTP endpoint before a Streamable HTTP server: requests and answers pass with their headers.

Sessions, the eras of the protocol, resumption and authorization are between the client and the upstream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
import httpx2
import mcp_types as types

from broker_plane.client.capped import in_time, read
from broker_plane.errors import TooLargeError, UpstreamError, WrongCompressionError
from broker_plane.plane.redacted_logs import quiet_logger
from broker_plane.proxy.asgi import (
    LOOPBACK,
    Headers,
    Receive,
    Scope,
    Send,
    admitted,
    answer,
    answer_error,
    answer_json,
    while_connected,
)
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES
from broker_plane.proxy.messages import Message, failed, is_answer, is_key, mapping, parse
from broker_plane.proxy.reaching import check_url, client_for, decoded, sent, unreachable
from broker_plane.proxy.relay import Asked, List, RefusedCall, Relay
from broker_plane.proxy.sse import TOO_LONG, Events, data_of, with_data
from broker_plane.wire.exact_json import dumps

log = quiet_logger(__name__)

_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
_NOT_ON = _HOP | {b"host", b"content-length", b"accept-encoding"}
_NOT_BACK = _HOP | {b"content-length", b"content-encoding", b"date", b"server"}
_VERSION = b"mcp-protocol-version"
_SESSION = b"mcp-session-id"
_OF_ONE_REQUEST = {b"accept", b"content-type", b"mcp-name", b"last-event-id"}
_LIST_SECONDS = 30.0
_MOST_WAITING = 10_000
_HEAD_SECONDS = 600.0
"""For the head of an answer, which may wait for a long tool."""


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
        line_bytes: int = DEFAULT_LINE_BYTES,
    ) -> None:
        self._relay = relay
        self._line_bytes = line_bytes
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
        if message is not None and isinstance(message.get("id"), (dict, list, bool)):
            await answer_error(send, 400, None, types.INVALID_REQUEST, "The id of a request is a text or a number")
            return
        try:
            asked = self._asked(message, headers)
            if message is not None and self._relay.needs_change(message):
                made = await self._relay.changed(message, self._lister(scope))
                raw = raw if made is message else dumps(made)
        except RefusedCall as refused:
            await answer_json(send, 200, refused.answer)
            return
        except Exception as error:  # noqa: BLE001  # whatever a message does to us, it passes
            log.warning("The proxy could not look into a request (%r); it passes as it is", error)
            asked = None
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

    def _lister(self, scope: Scope) -> List:
        """Asks for the tools as the client of a request would."""
        kept = [
            (name, value)
            for name, value in scope["headers"]
            if name not in self._not_on | _OF_ONE_REQUEST and not name.startswith(b"mcp-param-")
        ]
        headers = [
            *((name, value) for name, value in kept if name != b"mcp-method"),
            *([(b"mcp-method", b"tools/list")] if any(name == b"mcp-method" for name, _ in kept) else []),
            *self._credentials,
            (b"accept", b"application/json, text/event-stream"),
            (b"accept-encoding", b"identity"),
            (b"content-type", b"application/json"),
        ]

        async def listed(params: Message) -> Any:
            key = f"broker-plane-{uuid4().hex}"
            raw = dumps({"jsonrpc": "2.0", "id": key, "method": "tools/list", "params": params})
            try:
                response = await sent(self._client, "POST", self._upstream, headers, raw, _LIST_SECONDS)
                try:
                    async with in_time(_LIST_SECONDS):
                        return await self._result_of(response, key)
                finally:
                    await response.aclose()
            except (httpx2.TransportError, UpstreamError, TooLargeError, WrongCompressionError) as error:
                log.warning("The server did not list its tools: %s", error)
                return None

        return listed

    async def _result_of(self, response: httpx2.Response, key: str) -> Any:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            return mapping(parse(await read(response, self._line_bytes))).get("result")
        events = Events(self._line_bytes)
        async for piece in decoded(response):
            for event in events.feed(piece):
                found = mapping(parse(data_of(event)))
                if found.get("id") == key:
                    return found.get("result")
        return None

    async def _forward(
        self, scope: Scope, raw: bytes, message: Message | None, asked: Asked | None, send: Send
    ) -> None:
        on = [(name, value) for name, value in scope["headers"] if name not in self._not_on]
        query = scope["query_string"].decode("latin-1")
        url = f"{self._upstream}?{query}" if query else self._upstream
        headers = [*on, *self._credentials, (b"accept-encoding", b"identity")]
        try:
            response = await sent(self._client, scope["method"], url, headers, raw or None, _HEAD_SECONDS)
        except (httpx2.TransportError, UpstreamError) as error:
            said = str(error) if isinstance(error, UpstreamError) else unreachable(self._upstream, error)
            log.warning("%s", said)
            await answer_error(send, 502, _key_of(message), types.INTERNAL_ERROR, said)
            return
        try:
            back = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in _NOT_BACK]
            session = dict(scope["headers"]).get(_SESSION, b"")
            kind = response.headers.get("content-type", "").partition(";")[0].strip()
            lister = self._lister(scope)
            if kind == "text/event-stream":
                await self._stream(response, back, message, asked, session, send, lister)
            else:
                whole = await read(response, self._line_bytes)
                if kind == "application/json":
                    whole = await self._changed(whole, message, asked, session, lister)
                await answer(send, response.status_code, back, whole)
        except (httpx2.TransportError, TooLargeError, WrongCompressionError) as error:
            log.warning("The upstream's answer cannot be passed on: %s", error)
            said = f"The server's answer cannot be passed on: {error}"
            await answer_error(send, 502, _key_of(message), types.INTERNAL_ERROR, said)
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
        lister: List,
    ) -> None:
        await send({"type": "http.response.start", "status": response.status_code, "headers": back})
        events = Events(self._line_bytes)
        try:
            async for piece in decoded(response):
                for event in events.feed(piece):
                    if event is TOO_LONG:
                        log.warning(
                            "An event of the upstream's was dropped: it is longer than "
                            "BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES"
                        )
                        if (key := _key_of(message)) is not None:
                            raise TooLargeError("an event is longer than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES")
                        continue
                    data = data_of(event)
                    new = await self._changed(data, message, asked, session, lister)
                    passed = event if new is data else with_data(event, new)
                    await send({"type": "http.response.body", "body": passed, "more_body": True})
            last = events.end()
        except (httpx2.TransportError, TooLargeError, WrongCompressionError) as error:
            key = _key_of(message)
            said = f"The server's answer cannot be passed on: {error}"
            last = b"" if key is None else b"event: message\ndata: " + dumps(failed(key, said)) + b"\n\n"
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _changed(
        self, raw: bytes, message: Message | None, asked: Asked | None, session: bytes, lister: List
    ) -> bytes:
        """The same bytes where there is nothing to change."""
        if not raw or (asked is None and not self._waiting):
            return raw
        found = parse(raw)
        if found is None or not is_answer(found) or not is_key(found["id"]):
            return raw
        waiting = self._waiting.pop((session, found["id"]), None) if session else None
        if message is None or asked is None or found["id"] != message.get("id"):
            asked = waiting
        if asked is None:
            return raw
        try:
            if self._relay.concerns(asked, found, len(raw)):
                made = await self._relay.answered(asked, found, lister)
                return raw if made is found else dumps(made)
            self._relay.learn(asked, found)
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("The proxy could not look into an answer (%r); it passes as it is", error)
        return raw


def _key_of(message: Message | None) -> Any:
    """The id of the request that a message is; None where it is none."""
    return message.get("id") if message is not None and "method" in message else None


@asynccontextmanager
async def serving(
    relay: Relay,
    upstream: str,
    host: str,
    port: int,
    credentials: Mapping[str, str],
    line_bytes: int = DEFAULT_LINE_BYTES,
) -> AsyncIterator[str]:
    """Serve for the time of the block; yields the URL for clients. `credentials` are headers for the upstream alone.

    Raises:
        PortInUseError, ConfigError: the address cannot be served.
    """
    from broker_plane.bridge.serve import BridgeServer  # a proxy on standard streams needs no web server

    check_url(upstream, credentials)
    async with client_for(upstream, httpx2.Timeout(None, connect=10.0)) as client:
        app = HttpRelay(
            relay,
            upstream,
            client,
            only_loopback=host in LOOPBACK,
            credentials=credentials,
            line_bytes=line_bytes,
        )
        async with BridgeServer(app, host, port, stop_seconds=1, deliveries=False) as server:
            yield f"{server.url}/mcp"
