"""One session of the handshake era while its upstream is open in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from broker_plane.errors import UpstreamError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.mcp_sessions import RelatedRequests
from broker_plane.proxy.messages import Message, failed, failed_line, is_answer, is_key, parse
from broker_plane.transports.hosting import HostedSession, ServerHost
from broker_plane.wire import json_rpc
from broker_plane.wire.exact_json import dumps

log = redacted_logger(__name__)

_HANDSHAKE_SECONDS = 60.0
_HANDSHAKE = "broker-plane-handshake"
_WAITING = 256
"""Messages about one request that wait to be stored. With more of them the server has to wait."""

OwnMessage = Callable[[bytes], Awaitable[None]]
"""Stores a message that belongs to no request."""


class OpenSession:
    """The upstream of a session, in a task of its own."""

    def __init__(self, host: ServerHost, own_message: OwnMessage) -> None:
        self._host = host
        self._own_message = own_message
        self._related = RelatedRequests()
        self._inboxes: dict[Any, MemoryObjectSendStream[bytes]] = {}
        self._hosted: HostedSession | None = None
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the upstream. Raises UpstreamError: it cannot be opened."""
        ready: asyncio.Future[HostedSession] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._serve(ready))
        self._hosted = await ready

    async def shake_hands(self, handshake: tuple[str, ...]) -> None:
        """Repeat the handshake of the session's client, which does not learn of it.

        Raises:
            UpstreamError: the server does not accept it any more.
        """
        first, *others = handshake
        message = {**(parse(first.encode()) or {}), "id": _HANDSHAKE}
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                lines = [line async for line in self.ask(message)]
        except TimeoutError as error:
            raise UpstreamError("The server does not answer the handshake of this session") from error
        if "result" not in (parse(lines[-1]) or {}):
            raise UpstreamError("The server does not accept the handshake of this session any more")
        for line in others:
            await self.tell(line.encode() + b"\n")

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._inboxes)

    @property
    def ended(self) -> bool:
        """Whether the upstream has ended."""
        return self._task is None or self._task.done()

    async def ask(self, message: Message) -> AsyncGenerator[bytes, None]:
        """Send a request; yields the messages about it, of which the answer is the last.

        If it is closed before the answer, the server learns that the request was cancelled.

        Raises:
            UpstreamError: the upstream ended before it answered.
        """
        key = message["id"]
        if key in self._inboxes:
            yield dumps(failed(key, "Another request of this session has this id", json_rpc.INVALID_REQUEST))
            return
        self._inboxes[key], arriving = anyio.create_memory_object_stream[bytes](_WAITING)
        answered = False
        try:
            self._related.note(message, None)
            await self._from_client(dumps(message) + b"\n")
            async for line in arriving:
                answered = is_answer(parse(line) or {})
                yield line
                if answered:
                    return
            raise UpstreamError("The server ended before it answered")
        finally:
            arriving.close()
            self._inboxes.pop(key).close()
            if not answered and not self.ended:
                await self._cancel(key)

    async def tell(self, line: bytes) -> None:
        """Pass on a notification or an answer of the client."""
        self._related.note(parse(line) or {}, None)
        await self._from_client(line)

    async def close(self) -> None:
        """Close the upstream."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _from_client(self, line: bytes) -> None:
        if self._hosted is not None:
            await self._hosted.from_client(line)

    async def _cancel(self, key: Any) -> None:
        params = {"requestId": key, "reason": "The client has cancelled it, or waits no longer"}
        await self.tell(dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}) + b"\n")

    async def _serve(self, ready: asyncio.Future[HostedSession]) -> None:
        try:
            async with self._host.session(self._to_client) as hosted:
                ready.set_result(hosted)
                closing, ended = asyncio.ensure_future(self._closing.wait()), asyncio.ensure_future(hosted.ended())
                await asyncio.wait({closing, ended}, return_when=asyncio.FIRST_COMPLETED)
                closing.cancel()
                ended.cancel()
        except UpstreamError as error:
            if not ready.done():
                ready.set_exception(error)
                return
            log.warning("The upstream of a session failed: %s", error)
        finally:
            for inbox in self._inboxes.values():
                inbox.close()

    async def _to_client(self, line: bytes) -> None:
        message = parse(line)
        if message is None:
            log.warning("The server wrote a line that is not JSON; it was dropped")
            return
        related = self._related.to(message)
        key = message["id"] if is_answer(message) else related
        inbox = self._inboxes.get(key) if is_key(key) else None
        if inbox is not None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the request ends just now
                await inbox.send(line.rstrip())
        elif not is_answer(message):
            await self._own_message(line.rstrip())


def refused(message: Message, said: str) -> bytes:
    """The answer to a request of a session that cannot have it."""
    return failed_line(message.get("id"), said, json_rpc.INVALID_REQUEST).rstrip()
