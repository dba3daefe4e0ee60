"""HTTP before a command: Streamable HTTP of both eras on one endpoint, for a server that has standard streams only.

A request of 2026-07-28 stands alone, and all of them share one process (`shared.py`); a session of the handshake era
has a process of its own (`sessions.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
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
from broker_plane.proxy.asgi import (
    LOOPBACK,
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
from broker_plane.proxy.messages import Message, is_answer, is_key, mapping, tools_of
from broker_plane.proxy.relay import Asked, List, RefusedCall, Relay
from broker_plane.proxy.sessions import Sessions
from broker_plane.proxy.shared import Shared
from broker_plane.web.server import HttpServer
from broker_plane.wire.exact_json import MALFORMED, dumps, loads

log = redacted_logger(__name__)

_PING_SECONDS = 15.0
_MOST_IDLE = 4
_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache, no-transform")]


class CommandFront:
    """An ASGI application. With `only_loopback` a foreign Host is refused (421), and a foreign Origin (403)."""

    def __init__(
        self, relay: Relay, command: Sequence[str], *, only_loopback: bool, line_bytes: int = DEFAULT_LINE_BYTES
    ) -> None:
        self._line_bytes = line_bytes
        self._relay = relay
        self._command = command
        self._only_loopback = only_loopback
        self._sessions = Sessions(relay, command, line_bytes)
        self._shared = Shared(command, line_bytes)
        self._idle: list[Shared] = []
        """Processes that have one request at a time, and none now."""
        self._schemas: dict[str, Any] = {}
        """Input schemas of tools that were listed: they say which arguments stand in headers too."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        raw = await admitted(scope, receive, send, only_loopback=self._only_loopback)
        if raw is None:
            return
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER.encode())
        if version is None or version.decode("latin-1") in HANDSHAKE_PROTOCOL_VERSIONS:
            await self._sessions.handle(scope, raw, receive, send)
        elif scope["method"] != "POST":
            await answer(send, 405, [(b"allow", b"POST")], b"")
        else:
            await self._alone(scope, raw, receive, send)

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(self._sessions.close(), *(process.close() for process in (self._shared, *self._idle)))

    async def _alone(self, scope: Scope, raw: bytes, receive: Receive, send: Send) -> None:
        """Answer a request that stands alone (2026-07-28, Streamable HTTP)."""
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        try:
            message = loads(raw)
        except MALFORMED:
            await answer_error(send, 400, None, types.PARSE_ERROR, "Parse error")
            return
        key = message.get("id") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(message.get("method"), str) or not _may_be(key):
            await answer_error(send, 400, None, types.INVALID_REQUEST, "The body is one request or notification")
            return
        refused = self._refusal(message, pairs)
        if refused is not None:
            status = ERROR_CODE_HTTP_STATUS.get(refused.code, 400)
            await answer_error(send, status, key, refused.code, refused.message, refused.data)
        elif "id" not in message:
            await answer(send, 202, [], b"")  # this era cancels by closing the stream, and has no other notification
        else:
            await while_connected(receive, self._answered(message, send))

    def _refusal(self, message: Message, pairs: list[tuple[str, str]]) -> InboundLadderRejection | None:
        """What is wrong with the headers, or with how they fit the body."""
        headers = dict(pairs)
        if "id" not in message:
            return unsupported_protocol_version_rejection(headers[MCP_PROTOCOL_VERSION_HEADER])
        if (twice := find_duplicated_routing_header(pairs)) is not None:
            return InboundLadderRejection(types.HEADER_MISMATCH, f"{twice} header appears more than once")
        verdict = classify_inbound_request(message, headers=headers)
        if isinstance(verdict, InboundLadderRejection):
            return verdict
        params = message["params"]
        given = params.get("arguments") or {}
        schema = self._schemas.get(params.get("name", "")) if message["method"] == "tools/call" else None
        if schema is None or not isinstance(given, Mapping):
            return None
        return validate_mcp_param_headers(schema, given, headers)

    async def _answered(self, message: Message, send: Send) -> None:
        asked = self._relay.asked(message)
        key = message["id"]
        try:
            if self._relay.needs_change(message):
                message = await self._relay.changed(message, self._lister(message))
            async with self._process(message) as shared:
                await self._relayed(shared, message, asked, send)
        except RefusedCall as refused:
            await answer_json(send, 200, refused.answer)
        except UpstreamError as error:
            log.warning("%s", error)
            await answer_error(send, 502, key, types.INTERNAL_ERROR, str(error))

    @asynccontextmanager
    async def _process(self, message: Message) -> AsyncIterator[Shared]:
        """The process for a request; one that asks for log messages, which do not say whose they are, has its own."""
        if types.LOG_LEVEL_META_KEY not in message["params"]["_meta"]:
            yield self._shared
            return
        own = self._idle.pop() if self._idle else Shared(self._command, self._line_bytes, alone=True)
        reusable = False
        try:
            yield own
            reusable = len(self._idle) < _MOST_IDLE
        finally:
            # After a request that broke off, what its process still says would seem to be of the next one.
            if reusable:
                self._idle.append(own)
            else:
                await own.close()

    async def _relayed(self, shared: Shared, message: Message, asked: Asked | None, send: Send) -> None:
        """JSON where the answer comes first; else an event stream, which ends with it."""
        streams = False
        async with shared.asking(message) as following:
            while True:
                coming = None
                try:
                    coming, size = await asyncio.wait_for(following(), _PING_SECONDS)
                except TimeoutError:
                    event = b": ping\n\n"
                except UpstreamError as error:
                    if not streams:
                        raise
                    failed = {"code": types.INTERNAL_ERROR, "message": str(error)}
                    coming, size = {"jsonrpc": "2.0", "id": message["id"], "error": failed}, 0
                last = coming is not None and is_answer(coming)
                if coming is not None:
                    coming = await self._changed(asked, coming, size, message) if last else coming
                    event = b"event: message\ndata: " + dumps(coming) + b"\n\n"
                if coming is not None and last and not streams:
                    code = mapping(coming.get("error")).get("code", 0)
                    await answer_json(send, ERROR_CODE_HTTP_STATUS.get(code, 200), coming)
                    return
                if not streams:
                    await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
                    streams = True
                await send({"type": "http.response.body", "body": event, "more_body": not last})
                if last:
                    return

    def _lister(self, message: Message) -> List:
        """Asks for the tools as the client of `message` would."""

        async def listed(params: Message) -> Any:
            asked = {"jsonrpc": "2.0", "id": message["id"], "method": "tools/list", "params": params}
            async with self._shared.asking(asked) as following:
                while True:
                    coming, _ = await following()
                    if is_answer(coming):
                        return coming.get("result")

        return listed

    async def _changed(self, asked: Asked | None, found: Message, size: int, message: Message) -> Message:
        if asked is None:
            return found
        try:
            if asked.method == "tools/list":
                for tool in tools_of(found.get("result")):
                    self._schemas[tool["name"]] = tool.get("inputSchema")
            if self._relay.concerns(asked, found, size):
                return await self._relay.answered(asked, found, self._lister(message))
            self._relay.learn(asked, found)
        except Exception as error:  # noqa: BLE001  # whatever an answer does to us, it passes
            log.warning("The proxy could not look into an answer (%r); it passes as it is", error)
        return found


def _may_be(key: Any) -> bool:
    return key is None or is_key(key)


@asynccontextmanager
async def serving_command(
    relay: Relay, command: Sequence[str], host: str, port: int, line_bytes: int = DEFAULT_LINE_BYTES
) -> AsyncIterator[str]:
    """Serve for the time of the block; yields the URL for clients.

    Raises:
        PortInUseError, ConfigError: the address cannot be served.
    """
    front = CommandFront(relay, command, only_loopback=host in LOOPBACK, line_bytes=line_bytes)
    try:
        async with HttpServer(front, host, port, stop_seconds=1) as server:
            yield f"{server.url}/mcp"
    finally:
        await front.close()
