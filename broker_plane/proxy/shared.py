"""One process for many requests that know nothing of each other: each goes up under an id and a token of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import mcp_types as types
import orjson

from broker_plane.errors import UpstreamError
from broker_plane.proxy.command import Upstream, each_line, running
from broker_plane.proxy.relay import Message, is_answer, parse

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
_TOKEN = "progressToken"  # noqa: S105  # MCP's name of it

Got = tuple[Message, int]
"""A message for the client, and its size in bytes as it came."""


class Shared:
    """A process that is started for the first request, and again for the first after it has ended.

    With `alone`, it has one request only, and what belongs to none is that one's: log messages do not say whose they
    are.
    """

    def __init__(self, command: Sequence[str], *, alone: bool = False) -> None:
        self._command = command
        self._alone = alone
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Queue[Got | None]] = {}
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
        queue = self._waiting[number] = asyncio.Queue()
        theirs = message["id"], _meta(message).get(_TOKEN)

        async def following() -> Got:
            nonlocal ended
            got = await queue.get()
            if got is None:
                ended = True
                raise UpstreamError("The server's process ended before it answered")
            ended = ended or is_answer(got[0])
            return _with(got[0], *theirs), got[1]

        try:
            await upstream.write(orjson.dumps(_with(message, number, number)) + b"\n")
            yield following
        finally:
            del self._waiting[number]
            if not ended:
                params = {"requestId": number, "reason": "The client left"}
                cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
                await upstream.write(orjson.dumps(cancelled) + b"\n")

    async def close(self) -> None:
        """End the process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

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
                    await each_line(upstream.pieces(), self._take)
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
            return
        if "id" in message and "method" in message:
            await self._refuse(message)
            return
        queue = self._waiting.get(self._number_of(message))
        if queue is not None:
            queue.put_nowait((message, len(line)))

    def _number_of(self, message: Message) -> int:
        """Our number of the request; 0 for what belongs to none that waits."""
        params = message.get("params") or {}
        named: Any = message.get("id", params.get(_TOKEN, _meta(message).get(SUBSCRIPTION)))
        if named is None and self._alone:
            return next(iter(self._waiting), 0)
        return int(named) if str(named).isdecimal() else 0

    async def _refuse(self, message: Message) -> None:
        """This era has no requests of a server's."""
        error = {"code": types.METHOD_NOT_FOUND, "message": "Servers send no requests at 2026-07-28"}
        if self._upstream is not None:
            answer = {"jsonrpc": "2.0", "id": message["id"], "error": error}
            await self._upstream.write(orjson.dumps(answer) + b"\n")


def _meta(message: Message) -> dict[str, Any]:
    return (message.get("params") or {}).get("_meta") or {}


def _with(message: Message, key: Any, token: Any) -> Message:
    """The message under another id, with another token where it has one."""
    changed = {**message, "id": key} if "id" in message else dict(message)
    params, meta = message.get("params") or {}, _meta(message)
    if meta.get(_TOKEN) is not None:
        changed["params"] = {**params, "_meta": {**meta, _TOKEN: token}}
    elif _TOKEN in params:
        changed["params"] = {**params, _TOKEN: token}
    elif SUBSCRIPTION in meta:
        changed["params"] = {**params, "_meta": {**meta, SUBSCRIPTION: key}}
    return changed
