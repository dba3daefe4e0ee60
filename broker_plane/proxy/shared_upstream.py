"""One connection to a server for many independent requests: each is sent under an id and a progress token of ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from broker_plane.errors import UpstreamError
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.proxy.lines import LongLine, each_line
from broker_plane.proxy.messages import (
    Message,
    envelope_of,
    failed,
    failed_line,
    has_method,
    is_answer,
    is_key,
    key_in,
    key_of,
    meta_of,
    params_of,
    parse,
)
from broker_plane.proxy.upstream import Open, Upstream
from broker_plane.wire import json_rpc
from broker_plane.wire.exact_json import dumps

log = logging.getLogger(__name__)

_HEAD_BYTES = 1024
_MESSAGE_BYTES = 1024
"""The least memory that a message occupies."""

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
_TOKEN = "progressToken"  # noqa: S105  # MCP's name of it

Received = tuple[Message, int]
"""A message for the client, and its size in bytes as received."""


class _Inbox:
    """Messages that wait for a client. Notifications are dropped once those that wait exceed a limit."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Received | None] = asyncio.Queue()
        self._held = 0
        self.answered = False
        """Whether the answer was taken, or the process has ended."""

    def room(self, most: int) -> int:
        return most - self._held

    def put_nowait(self, received: Received | None) -> None:
        self._held += (received[1] if received else 0) + _MESSAGE_BYTES
        self._queue.put_nowait(received)

    async def get(self) -> Received | None:
        received = await self._queue.get()
        self._held -= (received[1] if received else 0) + _MESSAGE_BYTES
        return received


class SharedUpstream:
    """A connection that is opened for the first request, and again for the first request after it has ended.

    With `alone` it serves one request at a time, to which all messages without a request belong, such as log messages.
    """

    def __init__(self, open_upstream: Open, line_bytes: int, *, alone: bool = False) -> None:
        self._line_bytes = line_bytes
        self._open = open_upstream
        self._alone = alone
        self.ending = False
        """Whether requests that are interrupted are not cancelled: they go on elsewhere, and the upstream ends."""
        self._numbers = count(1)
        self._waiting: dict[int, _Inbox] = {}
        self._starting = asyncio.Lock()
        self._upstream: Upstream | None = None
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def request(self, message: Message) -> AsyncIterator[AsyncGenerator[Received, None]]:
        """Send a request; yields its messages, of which the answer is the last.

        A block that ends before the answer cancels the request.

        Raises:
            UpstreamError: the process cannot be started, or ended before it answered.
        """
        upstream = await self._process()
        number = next(self._numbers)
        inbox = self._waiting[number] = _Inbox()
        messages = _until_answered(inbox, message["id"], meta_of(message).get(_TOKEN))
        try:
            await upstream.write(dumps(_with(message, number, number)) + b"\n")
            yield messages
        finally:
            del self._waiting[number]
            await messages.aclose()
            if not inbox.answered and not self.ending:
                params = {"requestId": number, "reason": "The client left"}
                cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
                await upstream.write(dumps(cancelled) + b"\n")

    async def close(self) -> None:
        """End the process."""
        if self._task is not None:
            await cancel_and_forget(self._task)

    async def _process(self) -> Upstream:
        async with self._starting:
            if self._upstream is None:
                ready: asyncio.Future[Upstream] = asyncio.get_running_loop().create_future()
                self._task = asyncio.create_task(self._run(ready))
                self._upstream = await ready
            return self._upstream

    async def _run(self, ready: asyncio.Future[Upstream]) -> None:
        try:
            async with self._open() as upstream:
                ready.set_result(upstream)
                try:
                    await each_line(upstream.pieces(), self._take, most=self._line_bytes, too_long=self._take_long)
                finally:
                    self._upstream = None
                    for inbox in self._waiting.values():
                        inbox.put_nowait(None)
        except UpstreamError as error:
            ready.set_exception(error)

    async def _take(self, line: bytes) -> None:
        """Pass a line of the process to the request it belongs to."""
        message = parse(line)
        if message is None:
            self._unread(line)
        elif "id" in message and "method" in message:
            await self._refuse(message)
        elif is_answer(message) and not is_key(message["id"]) and message["id"] is not None:
            self._fail_all("The server answered with an invalid id")
        else:
            number = self._number_of(message)
            inbox = self._waiting.get(number)
            if inbox is not None and (is_answer(message) or inbox.room(self._line_bytes) > len(line)):
                inbox.put_nowait((_formed(message, line, number), len(line)))

    async def _take_long(self, line: LongLine) -> None:
        """Fail the request that an oversized line answers, or every request if the line does not show which."""
        said = f"The server sent a message of {line.size} bytes, more than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES allows"
        log.warning("%s; it was dropped", said)
        key = key_in(line.head, line.tail)
        if has_method(line.head):
            if key is not None and self._upstream is not None:
                await self._upstream.write(failed_line(key, said, json_rpc.INVALID_REQUEST))
        elif isinstance(key, int):
            self._fail(key, said)
        else:
            self._fail_all(said)

    def _unread(self, line: bytes) -> None:
        key = key_of(line)
        said = "The server's answer is not valid JSON, or is nested too deeply"
        if isinstance(key, int):
            self._fail(key, said)
        elif key is None and line[:1] == b"{" and not has_method(line[:_HEAD_BYTES]):
            self._fail_all(said)

    def _fail(self, number: int, said: str) -> None:
        inbox = self._waiting.get(number)
        if inbox is not None:
            inbox.put_nowait((failed(number, said), 0))

    def _fail_all(self, said: str) -> None:
        log.warning("%s; all %d open requests were answered with errors", said, len(self._waiting))
        for number in list(self._waiting):
            self._fail(number, said)

    def _number_of(self, message: Message) -> int:
        """Our number of the request a message belongs to; 0 if it belongs to no open request."""
        params = params_of(message)
        named: Any = message.get("id", params.get(_TOKEN, meta_of(message).get(SUBSCRIPTION)))
        if named is None and self._alone:
            return next(iter(self._waiting), 0)
        return int(named) if str(named).isdecimal() else 0

    async def _refuse(self, message: Message) -> None:
        """Refuse a request from the server: this era has none."""
        error = {"code": json_rpc.METHOD_NOT_FOUND, "message": "Servers send no requests at 2026-07-28"}
        if self._upstream is not None:
            answer = {"jsonrpc": "2.0", "id": message["id"], "error": error}
            await self._upstream.write(dumps(answer) + b"\n")


async def _until_answered(inbox: _Inbox, key: Any, token: Any) -> AsyncGenerator[Received, None]:
    """The messages of a request under the client's own id and progress token."""
    while not inbox.answered:
        received = await inbox.get()
        if received is None:
            inbox.answered = True
            raise UpstreamError("The server's process ended before it answered")
        message, size = received
        inbox.answered = is_answer(message)
        yield _with(message, key, token), size


def _formed(message: Message, line: bytes, number: int) -> Message:
    """The message; an error in place of a malformed answer."""
    found = envelope_of(line) if is_answer(message) else None
    if found is None or isinstance(found, str) or found.answers:
        return message
    return failed(number, "The server's answer is malformed")


def _with(message: Message, key: Any, token: Any) -> Message:
    """The message under another id, and with another progress token if it has one."""
    changed = {**message, "id": key} if "id" in message else dict(message)
    params, meta = params_of(message), meta_of(message)
    if meta.get(_TOKEN) is not None:
        changed["params"] = {**params, "_meta": {**meta, _TOKEN: token}}
    elif _TOKEN in params:
        changed["params"] = {**params, _TOKEN: token}
    elif SUBSCRIPTION in meta:
        changed["params"] = {**params, "_meta": {**meta, SUBSCRIPTION: key}}
    return changed
