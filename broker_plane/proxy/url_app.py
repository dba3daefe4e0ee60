"""HTTP in front of a Streamable HTTP server: requests and answers pass with their headers.

MCP sessions, the eras of the protocol, resumption and authorization are handled by the client and the upstream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
import httpx2

from broker_plane.client.capped import in_time, read
from broker_plane.errors import TooLargeError, UpstreamError, WrongCompressionError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy import endpoint
from broker_plane.proxy.endpoint import SESSION_HEADER, Headers, ProxyApp, Receive, Scope, Send
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES
from broker_plane.proxy.messages import Message, failed, is_answer, is_key, mapping, params_of, parse
from broker_plane.proxy.own_answers import AnsweredHere
from broker_plane.proxy.pending import PendingRequest
from broker_plane.proxy.rules import ListTools, ProxyRules
from broker_plane.proxy.upstream_http import check_url, client_for, decoded, sent, unreachable
from broker_plane.reading.clients import client_name
from broker_plane.wire import json_rpc
from broker_plane.wire.exact_json import dumps
from broker_plane.wire.sse import TOO_LONG, EventSplitter, data_of, with_data

log = redacted_logger(__name__)

_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
_NOT_FORWARDED = _HOP | {b"host", b"content-length", b"accept-encoding"}
_NOT_RETURNED = _HOP | {b"content-length", b"content-encoding", b"date", b"server"}
_VERSION = b"mcp-protocol-version"
_REQUEST_ONLY = {b"accept", b"content-type", b"mcp-name", b"last-event-id"}
_LIST_SECONDS = 30.0
_MAX_WAITING = 10_000
_HEAD_SECONDS = 600.0
"""For the head of an answer, which a slow tool may delay."""

_NOT_PASSED_ON = "The server's answer cannot be passed on: {}"


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request of a client, with what its answers depend on; `message` is None if it is not a JSON-RPC message."""

    message: Message | None
    pending: PendingRequest | None
    session: bytes
    list_tools: ListTools

    @property
    def key(self) -> Any:
        """The id of the request; None if it is a notification or no message."""
        return self.message.get("id") if self.message is not None and "method" in self.message else None


class UrlProxyApp(ProxyApp):
    """The ASGI application."""

    def __init__(
        self,
        rules: ProxyRules,
        upstream: str,
        client: httpx2.AsyncClient,
        *,
        only_loopback: bool,
        credentials: Mapping[str, str],
        line_bytes: int = DEFAULT_LINE_BYTES,
    ) -> None:
        super().__init__(only_loopback=only_loopback)
        self._rules = rules
        self._line_bytes = line_bytes
        self._upstream = upstream
        self._client = client
        self._credentials = [(name.lower().encode(), value.encode()) for name, value in credentials.items()]
        self._not_forwarded = _NOT_FORWARDED | {name for name, _ in self._credentials}
        self._waiting: dict[tuple[bytes, Any], PendingRequest] = {}
        """Requests of MCP sessions, for answers that arrive on another stream of the same session."""
        self._clients: dict[bytes, str] = {}
        """The names of clients by their MCP sessions."""

    async def handle(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        message = parse(body) if scope["method"] == "POST" else None
        if message is not None and isinstance(message.get("id"), (dict, list, bool)):
            said = "The id of a request is a text or a number"
            await endpoint.answer_error(send, 400, None, said, json_rpc.INVALID_REQUEST)
            return
        headers = dict(scope["headers"])
        list_tools = self._tool_lister(scope)
        pending = None
        try:
            pending = self._pending(message, headers)
            if message is not None and self._rules.may_rewrite(message):
                client = self._clients.get(headers.get(SESSION_HEADER, b""), "")
                rewritten = await self._rules.rewritten_request(message, list_tools, client)
                body = body if rewritten is message else dumps(rewritten)
        except AnsweredHere as here:
            await endpoint.answer_json(send, 200, here.answer)
            return
        except Exception as error:  # noqa: BLE001  # no message may keep a request from passing
            log.warning("The proxy could not process a request (%r); it passes unchanged", error)
        exchange = _Exchange(message, pending, headers.get(SESSION_HEADER, b""), list_tools)
        await endpoint.while_connected(receive, send, partial(self._forward, scope, body, exchange))

    def _pending(self, message: Message | None, headers: dict[bytes, bytes]) -> PendingRequest | None:
        if message is None or "id" not in message or "method" not in message:
            return None
        session = headers.get(SESSION_HEADER)
        version = headers.get(_VERSION, b"").decode("latin-1")
        pending = self._rules.pending(message, version, self._clients.get(session or b"", ""))
        if pending is not None and session is not None:
            _keep(self._waiting, (session, message["id"]), pending)
        return pending

    def _tool_lister(self, scope: Scope) -> ListTools:
        """Lists the tools in the way the client of a request would."""
        kept = [
            (name, value)
            for name, value in scope["headers"]
            if name not in self._not_forwarded | _REQUEST_ONLY and not name.startswith(b"mcp-param-")
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
        events = EventSplitter(self._line_bytes)
        async for piece in decoded(response):
            for event in events.feed(piece):
                found = mapping(parse(data_of(event)))
                if found.get("id") == key:
                    return found.get("result")
        return None

    async def _forward(self, scope: Scope, body: bytes, exchange: _Exchange, send: Send) -> None:
        query = scope["query_string"].decode("latin-1")
        url = f"{self._upstream}?{query}" if query else self._upstream
        kept = [(name, value) for name, value in scope["headers"] if name not in self._not_forwarded]
        headers = [*kept, *self._credentials, (b"accept-encoding", b"identity")]
        try:
            response = await sent(self._client, scope["method"], url, headers, body or None, _HEAD_SECONDS)
        except (httpx2.TransportError, UpstreamError) as error:
            said = str(error) if isinstance(error, UpstreamError) else unreachable(self._upstream, error)
            log.warning("%s", said)
            await endpoint.answer_error(send, 502, exchange.key, said)
            return
        try:
            await self._answer(response, exchange, send)
        except (httpx2.TransportError, TooLargeError, WrongCompressionError) as error:
            said = _NOT_PASSED_ON.format(error)
            log.warning("%s", said)
            await endpoint.answer_error(send, 502, exchange.key, said)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _answer(self, response: httpx2.Response, exchange: _Exchange, send: Send) -> None:
        headers = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in _NOT_RETURNED]
        session = response.headers.get(SESSION_HEADER.decode(), "").encode()
        if session and exchange.message is not None and exchange.message.get("method") == "initialize":
            _keep(self._clients, session, client_name(params_of(exchange.message).get("clientInfo")))
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        if kind == "text/event-stream":
            await self._stream(response, headers, exchange, send)
            return
        whole, status = await read(response, self._line_bytes), response.status_code
        if kind == "application/json":
            made = await self._rewritten(whole, exchange)
            # An error that became a result has the status of one.
            status, whole = status if made is whole else 200, made
        await endpoint.answer(send, status, headers, whole)

    async def _stream(self, response: httpx2.Response, headers: Headers, exchange: _Exchange, send: Send) -> None:
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        splitter = EventSplitter(self._line_bytes)
        try:
            async for piece in decoded(response):
                for event in splitter.feed(piece):
                    if passed := await self._event_for_client(event, exchange):
                        await send({"type": "http.response.body", "body": passed, "more_body": True})
            last = splitter.rest()
        except (httpx2.TransportError, TooLargeError, WrongCompressionError) as error:
            said = _NOT_PASSED_ON.format(error)
            last = b"" if exchange.key is None else endpoint.event_of(failed(exchange.key, said))
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _event_for_client(self, event: bytes, exchange: _Exchange) -> bytes:
        """The event, rewritten if it has an answer that is. An oversized one is dropped, or fails its request."""
        if event is TOO_LONG:
            log.warning("An event of the upstream exceeds BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES and was dropped")
            if exchange.key is not None:
                raise TooLargeError("an event is longer than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES")
            return b""
        data = data_of(event)
        new = await self._rewritten(data, exchange)
        return event if new is data else with_data(event, new)

    async def _rewritten(self, raw: bytes, exchange: _Exchange) -> bytes:
        """The bytes for the client; the same object if nothing changes."""
        if not raw or (exchange.pending is None and not self._waiting):
            return raw
        found = parse(raw)
        if found is None or not is_answer(found) or not is_key(found["id"]):
            return raw
        waiting = self._waiting.pop((exchange.session, found["id"]), None) if exchange.session else None
        own = exchange.message is not None and found["id"] == exchange.message.get("id")
        pending = exchange.pending if own and exchange.pending is not None else waiting
        if pending is None:
            return raw
        made = await self._rules.answer_for_client(pending, found, len(raw), exchange.list_tools)
        return raw if made is found else dumps(made)


def _keep(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Remember a value; of too many, the oldest is forgotten."""
    if len(memory) >= _MAX_WAITING:
        memory.pop(next(iter(memory)))
    memory[key] = value


@asynccontextmanager
async def url_proxy(
    rules: ProxyRules,
    upstream: str,
    host: str,
    port: int,
    credentials: Mapping[str, str],
    line_bytes: int = DEFAULT_LINE_BYTES,
) -> AsyncIterator[str]:
    """Serve a URL over HTTP for the time of the block; yields the URL for clients. `credentials` are upstream headers.

    Raises:
        PortInUseError, ConfigError: the address cannot be served.
    """
    check_url(upstream, credentials)
    only_loopback = host in endpoint.LOOPBACK
    async with client_for(upstream, httpx2.Timeout(None, connect=10.0)) as client:
        app = UrlProxyApp(
            rules, upstream, client, only_loopback=only_loopback, credentials=credentials, line_bytes=line_bytes
        )
        async with endpoint.served(app, host, port) as url:
            yield url
