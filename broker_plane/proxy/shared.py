"""One process for many requests that know nothing of each other: each goes up under an id and a token of ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import mcp_types as types

from broker_plane.errors import UpstreamError
from broker_plane.plane.tasks import abandoned
from broker_plane.proxy.command import Upstream, running
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
from broker_plane.wire.exact_json import dumps

log = logging.getLogger(__name__)

_LOOKED_AT = 1024
_MESSAGE_BYTES = 1024
"""What a small message costs in memory, at least."""

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
_TOKEN = "progressToken"  # noqa: S105  # MCP's name of it

Got = tuple[Message, int]
"""A message for the client, and its size in bytes as it came."""


class _Inbox:
    """Messages that wait for a client. Notifications to one who does not read them have a bound, and are dropped."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Got | None] = asyncio.Queue()
        self._held = 0

    def room(self, most: int) -> int:
        return most - self._held

    def put_nowait(self, got: Got | None) -> None:
        self._held += (got[1] if got else 0) + _MESSAGE_BYTES
        self._queue.put_nowait(got)

    async def get(self) -> Got | None:
        got = await self._queue.get()
        self._held -= (got[1] if got else 0) + _MESSAGE_BYTES
        return got


class Shared:
    """A process that is started for the first request, and again for the first after it has ended.

    With `alone`, it has one request only, and what belongs to none is that one's: log messages do not say whose they
    are.
    """

    def __init__(self, command: Sequence[str], line_bytes: int, *, alone: bool = False) -> None:
        self._line_bytes = line_bytes
        self._command = command
        self._alone = alone
        self._numbers = count(1)
        self._waiting: dict[int, _Inbox] = {}
        self._starting = asyncio.Lock()
        self._upstream: Upstream | None = None
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def asking(self, message: Message) -> AsyncIterator[Callable[[], Awaitable[Got]]]:
        """Send a request; what the block calls gives the next message for it, the last of them the answer.

        A block that ends before the answer cancels the request.

        Raises:
            UpstreamError: the process cannot be started, or ended before it answered.
        """
        upstream = await self._running()
        number, ended = next(self._numbers), False
        queue = self._waiting[number] = _Inbox()
        theirs = message["id"], meta_of(message).get(_TOKEN)

        async def following() -> Got:
            nonlocal ended
            got = await queue.get()
            if got is None:
                ended = True
                raise UpstreamError("The server's process ended before it answered")
            ended = ended or is_answer(got[0])
            return _with(got[0], *theirs), got[1]

        try:
            await upstream.write(dumps(_with(message, number, number)) + b"\n")
            yield following
        finally:
            del self._waiting[number]
            if not ended:
                params = {"requestId": number, "reason": "The client left"}
                cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
                await upstream.write(dumps(cancelled) + b"\n")

    async def close(self) -> None:
        """End the process."""
        if self._task is not None:
            await abandoned(self._task)

    async def _running(self) -> Upstream:
        async with self._starting:
            if self._upstream is None:
                ready: asyncio.Future[Upstream] = asyncio.get_running_loop().create_future()
                self._task = asyncio.create_task(self._run(ready))
                self._upstream = await ready
            return self._upstream

    async def _run(self, ready: asyncio.Future[Upstream]) -> None:
        try:
            async with running(self._command) as upstream:
                ready.set_result(upstream)
                try:
                    await each_line(upstream.pieces(), self._take, most=self._line_bytes, too_long=self._take_long)
                finally:
                    self._upstream = None
                    for queue in self._waiting.values():
                        queue.put_nowait(None)
        except UpstreamError as error:
            ready.set_exception(error)

    async def _take(self, line: bytes) -> None:
        """Give a line of the process to the request that it belongs to."""
        message = parse(line)
        if message is None:
            self._unread(line)
        elif "id" in message and "method" in message:
            await self._refuse(message)
        elif is_answer(message) and not is_key(message["id"]) and message["id"] is not None:
            self._fail_all("The server answered with an id that is none")
        else:
            number = self._number_of(message)
            queue = self._waiting.get(number)
            if queue is not None and (is_answer(message) or queue.room(self._line_bytes) > len(line)):
                queue.put_nowait((_formed(message, line, number), len(line)))

    async def _take_long(self, line: LongLine) -> None:
        """Whose answer a line was that is too long cannot always be told: then it may be anyone's."""
        said = f"The server sent a message of {line.size} bytes, more than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES allows"
        log.warning("%s; it was dropped", said)
        key = key_in(line.head, line.tail)
        if has_method(line.head):
            if key is not None and self._upstream is not None:
                await self._upstream.write(failed_line(key, said, types.INVALID_REQUEST))
        elif isinstance(key, int):
            self._fail(key, said)
        else:
            self._fail_all(said)

    def _unread(self, line: bytes) -> None:
        key = key_of(line)
        said = "The server's answer is no JSON that can be read, or nests too deep"
        if isinstance(key, int):
            self._fail(key, said)
        elif key is None and line[:1] == b"{" and not has_method(line[:_LOOKED_AT]):
            self._fail_all(said)

    def _fail(self, number: int, said: str) -> None:
        queue = self._waiting.get(number)
        if queue is not None:
            queue.put_nowait((failed(number, said), 0))

    def _fail_all(self, said: str) -> None:
        log.warning("%s; all %d open requests were answered by errors", said, len(self._waiting))
        for number in list(self._waiting):
            self._fail(number, said)

    def _number_of(self, message: Message) -> int:
        """Our number of the request; 0 for what belongs to none that waits."""
        params = params_of(message)
        named: Any = message.get("id", params.get(_TOKEN, meta_of(message).get(SUBSCRIPTION)))
        if named is None and self._alone:
            return next(iter(self._waiting), 0)
        return int(named) if str(named).isdecimal() else 0

    async def _refuse(self, message: Message) -> None:
        """This era has no requests of a server's."""
        error = {"code": types.METHOD_NOT_FOUND, "message": "Servers send no requests at 2026-07-28"}
        if self._upstream is not None:
            answer = {"jsonrpc": "2.0", "id": message["id"], "error": error}
            await self._upstream.write(dumps(answer) + b"\n")


def _formed(message: Message, line: bytes, number: int) -> Message:
    """The message; an answer that has not the form of one is an error."""
    found = envelope_of(line) if is_answer(message) else None
    if found is None or isinstance(found, str) or found.answers:
        return message
    return failed(number, "The server's answer has not the form of one")


def _with(message: Message, key: Any, token: Any) -> Message:
    """The message under another id, with another token where it has one."""
    changed = {**message, "id": key} if "id" in message else dict(message)
    params, meta = params_of(message), meta_of(message)
    if meta.get(_TOKEN) is not None:
        changed["params"] = {**params, "_meta": {**meta, _TOKEN: token}}
    elif _TOKEN in params:
        changed["params"] = {**params, _TOKEN: token}
    elif SUBSCRIPTION in meta:
        changed["params"] = {**params, "_meta": {**meta, SUBSCRIPTION: key}}
    return changed
