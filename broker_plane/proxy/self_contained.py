"""Self-contained requests (2026-07-28) to an upstream of any kind: all of them share one connection to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import mcp_types as types

from broker_plane.proxy.lines import DEFAULT_LINE_BYTES
from broker_plane.proxy.messages import Message, is_answer, meta_of, tools_of
from broker_plane.proxy.own_answers import AnsweredHere
from broker_plane.proxy.pending import PendingRequest
from broker_plane.proxy.rules import ListTools, ProxyRules
from broker_plane.proxy.shared_upstream import Received, SharedUpstream
from broker_plane.proxy.upstream import Open

_MAX_IDLE = 4


class SelfContained:
    """Sends self-contained requests to an upstream, and rewrites requests and answers as the rules say."""

    def __init__(self, rules: ProxyRules, open_upstream: Open, line_bytes: int = DEFAULT_LINE_BYTES) -> None:
        self._rules = rules
        self._open_upstream = open_upstream
        self._line_bytes = line_bytes
        self._shared = SharedUpstream(open_upstream, line_bytes)
        self._idle: list[SharedUpstream] = []
        """Upstreams that serve one request at a time, and none at present."""
        self.schemas: dict[str, Any] = {}
        """Input schemas of listed tools: they say which arguments are repeated in headers."""

    def interrupt(self) -> None:
        """Cancel no request from now on: what is interrupted goes on at another process, and the upstreams end."""
        self._shared.ending = True

    async def close(self) -> None:
        """End all upstreams."""
        await asyncio.gather(*(upstream.close() for upstream in (self._shared, *self._idle)))

    @asynccontextmanager
    async def request(self, message: Message) -> AsyncIterator[AsyncGenerator[Message, None]]:
        """Send a valid request; yields its messages, of which the answer is the last.

        A block that ends before the answer cancels the request.

        Raises:
            UpstreamError: the upstream cannot be opened, or ended before it answered. The messages raise it, too.
        """
        pending, answered = self._rules.pending(message), None
        try:
            if self._rules.may_rewrite(message):
                message = await self._rules.rewritten_request(message, self._tool_lister(message))
        except AnsweredHere as here:
            answered = here.answer
        if answered is not None:
            async with aclosing(_only(answered)) as messages:
                yield messages
            return
        async with (
            self._upstream(message) as upstream,
            upstream.request(message) as incoming,
            aclosing(self._for_client(incoming, message, pending)) as messages,
        ):
            yield messages

    @asynccontextmanager
    async def _upstream(self, message: Message) -> AsyncIterator[SharedUpstream]:
        """The upstream for a request. Log messages name no request, so a request that wants them has one alone."""
        if types.LOG_LEVEL_META_KEY not in meta_of(message):
            yield self._shared
            return
        own = self._idle.pop() if self._idle else SharedUpstream(self._open_upstream, self._line_bytes, alone=True)
        reusable = False
        try:
            yield own
            reusable = len(self._idle) < _MAX_IDLE
        finally:
            # After an interrupted request, later messages of its process would seem to belong to the next request.
            if reusable:
                self._idle.append(own)
            else:
                await own.close()

    async def _for_client(
        self, incoming: AsyncGenerator[Received, None], message: Message, pending: PendingRequest | None
    ) -> AsyncGenerator[Message, None]:
        """The messages for the client; the last one is the answer, rewritten if the rules say so."""
        async for found, size in incoming:
            yield await self._rewritten(pending, found, size, message) if is_answer(found) else found

    def _tool_lister(self, message: Message) -> ListTools:
        """Lists the tools in the way the client of `message` would."""

        async def listed(params: Message) -> Any:
            request = {"jsonrpc": "2.0", "id": message["id"], "method": "tools/list", "params": params}
            async with self._shared.request(request) as incoming:
                async for found, _ in incoming:
                    if is_answer(found):
                        return found.get("result")
            return None

        return listed

    async def _rewritten(self, pending: PendingRequest | None, found: Message, size: int, message: Message) -> Message:
        if pending is None:
            return found
        if pending.method == "tools/list":
            for tool in tools_of(found.get("result")):
                self.schemas[tool["name"]] = tool.get("inputSchema")
        return await self._rules.answer_for_client(pending, found, size, self._tool_lister(message))


async def _only(answer: Message) -> AsyncGenerator[Message, None]:
    yield answer
