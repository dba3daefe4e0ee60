"""HTTP in front of an upstream: Streamable HTTP of both protocol eras for a server that does not speak it.

A request of 2026-07-28 is self-contained, and all of them share one upstream (`self_contained.py`). Every MCP session
of the handshake era has an upstream of its own (`mcp_sessions.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import mcp_types as types
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    MCP_PROTOCOL_VERSION_HEADER,
    InboundLadderRejection,
    classify_inbound_request,
    find_duplicated_routing_header,
    unsupported_protocol_version_rejection,
    validate_mcp_param_headers,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from broker_plane.errors import UpstreamError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy import endpoint
from broker_plane.proxy.endpoint import ProxyApp, Receive, Scope, Send
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES
from broker_plane.proxy.mcp_sessions import McpSessions
from broker_plane.proxy.messages import Message, failed, is_answer, is_key, mapping
from broker_plane.proxy.rules import ProxyRules
from broker_plane.proxy.self_contained import SelfContained
from broker_plane.proxy.upstream import Open
from broker_plane.web.heartbeats import items_or_heartbeats
from broker_plane.wire.exact_json import MALFORMED, loads

log = redacted_logger(__name__)

_PING_SECONDS = 15.0
_PING = b": ping\n\n"
_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache, no-transform")]


class UpstreamProxyApp(ProxyApp):
    """The ASGI application."""

    def __init__(
        self, rules: ProxyRules, open_upstream: Open, *, only_loopback: bool, line_bytes: int = DEFAULT_LINE_BYTES
    ) -> None:
        super().__init__(only_loopback=only_loopback)
        self._sessions = McpSessions(rules, open_upstream, line_bytes)
        self._contained = SelfContained(rules, open_upstream, line_bytes)

    async def handle(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        version = dict(scope["headers"]).get(MCP_PROTOCOL_VERSION_HEADER.encode())
        if version is None or version.decode("latin-1") in HANDSHAKE_PROTOCOL_VERSIONS:
            await self._sessions.handle(scope, body, receive, send)
        elif scope["method"] != "POST":
            await endpoint.answer(send, 405, [(b"allow", b"POST")], b"")
        else:
            await self._self_contained(scope, body, receive, send)

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(self._sessions.close(), self._contained.close())

    async def _self_contained(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer a self-contained request (2026-07-28, Streamable HTTP)."""
        try:
            message = loads(body)
        except MALFORMED:
            await endpoint.answer_error(send, 400, None, "Parse error", types.PARSE_ERROR)
            return
        key = message.get("id") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(message.get("method"), str) or not _may_be_id(key):
            said = "The body is one request or notification"
            await endpoint.answer_error(send, 400, None, said, types.INVALID_REQUEST)
            return
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        refusal = self._refusal(message, pairs)
        if refusal is not None:
            status = ERROR_CODE_HTTP_STATUS.get(refusal.code, 400)
            await endpoint.answer_error(send, status, key, refusal.message, refusal.code, refusal.data)
        elif "id" not in message:
            # This era cancels by closing the stream, and has no other notification.
            await endpoint.answer(send, 202, [], b"")
        else:
            await endpoint.while_connected(receive, send, partial(self._answer, message))

    def _refusal(self, message: Message, pairs: list[tuple[str, str]]) -> InboundLadderRejection | None:
        """The error in the headers, or in their match to the body; None if they are fine."""
        headers = dict(pairs)
        if "id" not in message:
            return unsupported_protocol_version_rejection(headers[MCP_PROTOCOL_VERSION_HEADER])
        if (twice := find_duplicated_routing_header(pairs)) is not None:
            return InboundLadderRejection(types.HEADER_MISMATCH, f"{twice} header appears more than once")
        verdict = classify_inbound_request(message, headers=headers)
        if isinstance(verdict, InboundLadderRejection):
            return verdict
        if message["method"] == "initialize":
            # Over standard streams it opens a connection of the other era; here there is no such method (SEP-2575).
            return InboundLadderRejection(types.METHOD_NOT_FOUND, "Method not found")
        params = message["params"]
        given = params.get("arguments") or {}
        schema = self._contained.schemas.get(params.get("name", "")) if message["method"] == "tools/call" else None
        if schema is None or not isinstance(given, Mapping):
            return None
        return validate_mcp_param_headers(schema, given, headers)

    async def _answer(self, message: Message, send: Send) -> None:
        """Answer with JSON if the answer is the first message; else with an event stream that ends with it."""
        streams = False
        try:
            async with (
                self._contained.request(message) as messages,
                aclosing(items_or_heartbeats(messages, _PING_SECONDS)) as items,
            ):
                async for item in items:
                    await _send_item(send, item, streams=streams)
                    streams = True
        except UpstreamError as error:
            log.warning("%s", error)
            if streams:
                await _send_item(send, failed(message["id"], str(error)), streams=True)
            else:
                await endpoint.answer_error(send, 502, message["id"], str(error))


def _may_be_id(key: Any) -> bool:
    return key is None or is_key(key)


async def _send_item(send: Send, item: Message | None, *, streams: bool) -> None:
    """Send a message, or a ping for None. An answer ends the response; `streams`: an event stream has begun."""
    last = item is not None and is_answer(item)
    if last and not streams:
        code = mapping(mapping(item).get("error")).get("code", 0)
        await endpoint.answer_json(send, ERROR_CODE_HTTP_STATUS.get(code, 200), item)
        return
    if not streams:
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
    event = _PING if item is None else endpoint.event_of(item)
    await send({"type": "http.response.body", "body": event, "more_body": not last})


@asynccontextmanager
async def upstream_proxy(
    rules: ProxyRules, open_upstream: Open, host: str, port: int, line_bytes: int = DEFAULT_LINE_BYTES
) -> AsyncIterator[str]:
    """Serve an upstream over HTTP for the time of the block; yields the URL for clients.

    Raises:
        PortInUseError, ConfigError: the address cannot be served.
    """
    app = UpstreamProxyApp(rules, open_upstream, only_loopback=host in endpoint.LOOPBACK, line_bytes=line_bytes)
    try:
        async with endpoint.served(app, host, port) as url:
            yield url
    finally:
        await app.close()
