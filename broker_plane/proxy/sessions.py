"""HTTP before a command, handshake era (2025): every session has a process of its own, until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from broker_plane.proxy.asgi import Receive, Scope, Send, answer_error, replayed
from broker_plane.proxy.command import running
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
from broker_plane.proxy.pairing import StdioRelay
from broker_plane.proxy.relay import Relay

log = redacted_logger(__name__)

_DEEPEST = 200
"""What the SDK writes; it drops what nests deeper."""

MOST_SESSIONS = 64
IDLE_SECONDS = 1800.0
_SESSION = b"mcp-session-id"
_OF_NO_REQUEST = ("/list_changed", "resources/updated")


class Sessions:
    """Answers requests of sessions; `initialize` opens one. Transport and eras are the SDK's, the process ours."""

    def __init__(self, relay: Relay, command: Sequence[str], line_bytes: int = DEFAULT_LINE_BYTES) -> None:
        self._line_bytes = line_bytes
        self._relay = relay
        self._command = command
        self._open: dict[str, StreamableHTTPServerTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, scope: Scope, raw: bytes, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, whose body was read."""
        key = dict(scope["headers"]).get(_SESSION, b"").decode("latin-1")
        if key:
            transport = self._open.get(key)
            if transport is None:
                await answer_error(send, 404, None, types.INVALID_REQUEST, "Session not found")
            else:
                await transport.handle_request(scope, replayed(raw, receive), send)
            return
        message = parse(raw) if scope["method"] == "POST" else None
        if message is None or message.get("method") != "initialize":
            await answer_error(send, 400, None, types.INVALID_REQUEST, "Missing session ID: initialize first")
        elif len(self._open) >= MOST_SESSIONS:
            await answer_error(send, 503, message.get("id"), types.INTERNAL_ERROR, "Too many open sessions")
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
            await answer_error(send, 502, message.get("id"), types.INTERNAL_ERROR, str(error))
            return
        await transport.handle_request(scope, receive, send)

    async def _serve(self, key: str, transport: StreamableHTTPServerTransport, ready: asyncio.Future[None]) -> None:
        """Run the session until the client ends it, it is idle for long, or the process ends."""
        try:
            async with running(self._command) as upstream, transport.connect() as (read, write):
                self._open[key] = transport
                ready.set_result(None)
                related = Related()

                async def down(line: bytes) -> None:
                    message = parse(line)
                    if message is None:
                        if (key := key_of(line)) is None:
                            return
                        message = failed(key, "The server's answer is no JSON that can be read")
                    checked = _checked(message, line)
                    if checked is None:
                        return
                    metadata = ServerMessageMetadata(related_request_id=related.to(message))
                    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                        await write.send(SessionMessage(checked, metadata))

                pairing = StdioRelay(self._relay, upstream.write, down, strict=True)

                async def asking() -> None:
                    async for item in read:
                        if isinstance(item, Exception):
                            continue  # the transport has answered it
                        try:
                            line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
                        except (ValueError, RecursionError):  # too deep to be written again
                            key = getattr(item.message, "id", None)
                            await down(failed_line(key, "The message nests too deep", types.INVALID_REQUEST))
                            continue
                        ended = related.note(parse(line) or {}, item.metadata)
                        await pairing.from_client(line + b"\n")
                        if ended is not None:
                            await ended()

                # Where the process ends, the session does; waiting requests are ended by the transport.
                tasks = [
                    asyncio.create_task(asking()),
                    asyncio.create_task(
                        each_line(
                            upstream.pieces(),
                            pairing.from_upstream,
                            most=self._line_bytes,
                            too_long=pairing.long_from_upstream,
                        )
                    ),
                ]
                try:
                    with transport.idle_scope or anyio.CancelScope():
                        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    self._open.pop(key, None)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                    if not transport.is_terminated:
                        await transport.terminate()
        except UpstreamError as error:
            if not ready.done():
                ready.set_exception(error)


def _checked(message: Message, line: bytes) -> Any:
    """The SDK's message; an error in place of an answer that is none, and nothing for what nobody waits for."""
    try:
        if _depth(message, line) <= _DEEPEST:
            return types.jsonrpc_message_adapter.validate_python(message, by_name=False)
    except (ValidationError, RecursionError):
        pass
    log.warning("The upstream wrote a line that is no message, or nests too deep")
    if not is_answer(message) or not is_key(message["id"]):
        return None
    error = failed(message["id"], "The server's answer has not the form of one")
    return types.jsonrpc_message_adapter.validate_python(error, by_name=False)


def _depth(message: Any, line: bytes) -> int:
    """How deep a message nests, or more than it may."""
    if line.count(b"[") + line.count(b"{") <= _DEEPEST:
        return 0
    level, depth = [message], 0
    while level and depth <= _DEEPEST:
        depth += 1
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [value for values in inner for value in values if isinstance(value, (dict, list))]
    return depth


class Related:
    """On which response stream a message of the upstream's goes: that of the request that it belongs to.

    Standard input and output do not say it, apart from progress. What is about no request goes to the GET stream,
    the rest to the request that was made last.
    """

    def __init__(self) -> None:
        self._tokens: dict[Any, Any] = {}
        self._ends: dict[Any, Any] = {}

    def note(self, message: Message, metadata: Any) -> Any:
        """Note a message of the client's; for a cancellation, what ends the stream that nobody answers now."""
        params = params_of(message)
        if message.get("method") == "notifications/cancelled":
            key = params.get("requestId")
            if not is_key(key):
                return None
            self._tokens.pop(key, None)
            return self._ends.pop(key, None)
        if "id" in message and "method" in message:
            self._tokens[message["id"]] = meta_of(message).get("progressToken")
            self._ends[message["id"]] = getattr(metadata, "on_request_unanswered", None)
        return None

    def to(self, message: Message) -> Any:
        """The id of the request that a message of the upstream's belongs to; None is none."""
        method = message.get("method")
        if method is None:
            self._tokens.pop(message.get("id"), None)
            self._ends.pop(message.get("id"), None)
            return None
        if method == "notifications/progress":
            token = params_of(message).get("progressToken")
            return next((key for key, given in self._tokens.items() if given == token), None)
        if method.endswith(_OF_NO_REQUEST):
            return None
        return next(reversed(self._tokens), None)
