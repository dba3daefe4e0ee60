"""HTTP in front of a command, handshake era (2025): every MCP session has an upstream of its own, until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any
from uuid import uuid4

import anyio
import mcp_types as types
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from pydantic import ValidationError

from broker_plane.errors import UpstreamError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.connection import ProxyConnection
from broker_plane.proxy.endpoint import SESSION_HEADER, Receive, Scope, Send, answer_error, replayed
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES, each_line
from broker_plane.proxy.messages import (
    Message,
    failed,
    failed_line,
    is_answer,
    is_key,
    key_of,
    meta_of,
    params_of,
    parse,
)
from broker_plane.proxy.rules import ProxyRules
from broker_plane.proxy.upstream import Open, Upstream

log = redacted_logger(__name__)

_MAX_DEPTH = 200
"""The nesting depth that the SDK serializes; it drops deeper messages."""

MAX_SESSIONS = 64
IDLE_SECONDS = 1800.0
_WITHOUT_REQUEST = ("/list_changed", "resources/updated")


class McpSessions:
    """Answers requests of MCP sessions; `initialize` opens one. The SDK handles the transport and the eras."""

    def __init__(self, rules: ProxyRules, open_upstream: Open, line_bytes: int = DEFAULT_LINE_BYTES) -> None:
        self._line_bytes = line_bytes
        self._rules = rules
        self._open_upstream = open_upstream
        self._open: dict[str, StreamableHTTPServerTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, scope: Scope, raw: bytes, receive: Receive, send: Send) -> None:
        """Answer one HTTP request whose body was read."""
        key = dict(scope["headers"]).get(SESSION_HEADER, b"").decode("latin-1")
        if key:
            transport = self._open.get(key)
            if transport is None:
                await answer_error(send, 404, None, "Session not found", types.INVALID_REQUEST)
            else:
                await transport.handle_request(scope, replayed(raw, receive), send)
            return
        message = parse(raw) if scope["method"] == "POST" else None
        if message is None or message.get("method") != "initialize":
            await answer_error(send, 400, None, "Missing session ID: initialize first", types.INVALID_REQUEST)
        elif len(self._open) >= MAX_SESSIONS:
            await answer_error(send, 503, message.get("id"), "Too many open sessions")
        else:
            await self._opened(scope, message, replayed(raw, receive), send)

    async def close(self) -> None:
        """End all sessions and their processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _opened(self, scope: Scope, message: Message, receive: Receive, send: Send) -> None:
        key = uuid4().hex
        transport = StreamableHTTPServerTransport(mcp_session_id=key, idle_timeout=IDLE_SECONDS)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._serve(key, transport, ready))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await ready
        except UpstreamError as error:
            log.warning("%s", error)
            await answer_error(send, 502, message.get("id"), str(error))
            return
        await transport.handle_request(scope, receive, send)

    async def _serve(self, key: str, transport: StreamableHTTPServerTransport, ready: asyncio.Future[None]) -> None:
        """Run a session until the client ends it, it has been idle for too long, or its process ends."""
        try:
            async with self._open_upstream() as upstream, transport.connect() as (read, write):
                self._open[key] = transport
                ready.set_result(None)
                session = _Session(self._rules, upstream, write)
                try:
                    with transport.idle_scope or anyio.CancelScope():
                        await _until_one_ends(session.from_client(read), session.from_process(self._line_bytes))
                finally:
                    self._open.pop(key, None)
                    if not transport.is_terminated:
                        await transport.terminate()
        except UpstreamError as error:
            if not ready.done():
                ready.set_exception(error)


async def _until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one has ended; the transport answers the requests that still wait."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Session:
    """One MCP session: the SDK's transport on one side, the process on the other."""

    def __init__(self, rules: ProxyRules, upstream: Upstream, write: Any) -> None:
        self._upstream = upstream
        self._write = write
        self._related = RelatedRequests()
        self._connection = ProxyConnection(rules, upstream.write, self._to_client, strict=True)

    async def from_client(self, read: Any) -> None:
        """Pass on the client's messages."""
        async for item in read:
            if isinstance(item, Exception):
                continue  # the transport has answered it
            try:
                line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
            except (ValueError, RecursionError):  # nested too deeply to be serialized
                key = getattr(item.message, "id", None)
                await self._to_client(failed_line(key, "The message is nested too deeply", types.INVALID_REQUEST))
                continue
            end_stream = self._related.note(parse(line) or {}, item.metadata)
            await self._connection.from_client(line + b"\n")
            if end_stream is not None:
                await end_stream()

    async def from_process(self, line_bytes: int) -> None:
        """Pass on the lines of the process."""
        connection = self._connection
        pieces, too_long = self._upstream.pieces(), connection.long_from_upstream
        await each_line(pieces, connection.from_upstream, most=line_bytes, too_long=too_long)

    async def _to_client(self, line: bytes) -> None:
        message = parse(line)
        if message is None:
            if (key := key_of(line)) is None:
                return
            message = failed(key, "The server's answer is not valid JSON")
        checked = _checked(message, line)
        if checked is None:
            return
        metadata = ServerMessageMetadata(related_request_id=self._related.to(message))
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await self._write.send(SessionMessage(checked, metadata))


def _checked(message: Message, line: bytes) -> Any:
    """The SDK's message; an error in place of a malformed answer, and None for other malformed messages."""
    try:
        if _depth(message, line) <= _MAX_DEPTH:
            return types.jsonrpc_message_adapter.validate_python(message, by_name=False)
    except (ValidationError, RecursionError):
        pass
    log.warning("The upstream wrote a line that is not a message, or is nested too deeply")
    if not is_answer(message) or not is_key(message["id"]):
        return None
    error = failed(message["id"], "The server's answer is malformed")
    return types.jsonrpc_message_adapter.validate_python(error, by_name=False)


def _depth(message: Any, line: bytes) -> int:
    """The nesting depth of a message, or a larger number than allowed."""
    if line.count(b"[") + line.count(b"{") <= _MAX_DEPTH:
        return 0
    level, depth = [message], 0
    while level and depth <= _MAX_DEPTH:
        depth += 1
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [value for values in inner for value in values if isinstance(value, (dict, list))]
    return depth


class RelatedRequests:
    """Finds the request to which a message of the process belongs, on whose response stream it is sent.

    Standard streams show this for progress alone. Messages about no request go to the GET stream, and the others to
    the latest request.
    """

    def __init__(self) -> None:
        self._tokens: dict[Any, Any] = {}
        self._stream_ends: dict[Any, Any] = {}

    def note(self, message: Message, metadata: Any) -> Any:
        """Note a message of the client; for a cancellation, returns what ends the response stream of the request."""
        params = params_of(message)
        if message.get("method") == "notifications/cancelled":
            key = params.get("requestId")
            if not is_key(key):
                return None
            self._tokens.pop(key, None)
            return self._stream_ends.pop(key, None)
        if "id" in message and "method" in message:
            self._tokens[message["id"]] = meta_of(message).get("progressToken")
            self._stream_ends[message["id"]] = getattr(metadata, "on_request_unanswered", None)
        return None

    def to(self, message: Message) -> Any:
        """The id of the request to which a message of the process belongs; None if there is none."""
        method = message.get("method")
        if method is None:
            self._tokens.pop(message.get("id"), None)
            self._stream_ends.pop(message.get("id"), None)
            return None
        if method == "notifications/progress":
            token = params_of(message).get("progressToken")
            return next((key for key, given in self._tokens.items() if given == token), None)
        if method.endswith(_WITHOUT_REQUEST):
            return None
        return next(reversed(self._tokens), None)
