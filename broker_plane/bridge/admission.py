"""Limits how much of a bridge the requests of one grant and of one owner may use at once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from starlette.types import Receive, Scope

from broker_plane.bridge.selectors import MOST_SELECTOR_BYTES, selector_of_body
from broker_plane.plane.fairness.shares import Payer, Shares
from broker_plane.plane.fairness.work import Work
from broker_plane.web.request import declared_size, read_body
from broker_plane.wire.selector import Selector

_KEPT_BACK = 128
"""File descriptors for everything but requests: NATS, files, probes."""

_MOST_CONNECTIONS = 8192
_STREAMS_OF_A_LIVE_GRANT = 8
"""A live stream has one reader, which may reconnect before the bridge notices that its connection is lost."""

_WAITING = 256
_MODEST_BYTES = 256 << 10
_MODEST_IDS = 100_000


class Admission:
    """The shares of one bridge: half of its connections per grant, three quarters per owner."""

    def __init__(self, work: Work) -> None:
        most = _most_connections()
        self._work = work
        self.requests = Shares(most, owner=most * 3 // 4, grant=most // 2, waiting=0)
        """Requests of a grant that are not answered yet."""
        self.streams = Shares(most // 2, owner=most * 3 // 8, grant=most // 4, waiting=0)
        """Endless answers with a feed's events, over SSE and WebSocket."""
        self.live = Shares(most // 2, owner=most * 3 // 8, grant=_STREAMS_OF_A_LIVE_GRANT, waiting=0)
        self._bodies = Shares(4, owner=2, grant=1, waiting=_WAITING)
        """Large request bodies that are being read and parsed; each may use up to 24 MiB."""
        self._selectors = Shares(16, owner=12, grant=4, waiting=_WAITING)
        """Answers to large selectors, each of which may use up to 8 MiB until it ends."""

    @asynccontextmanager
    async def selector(self, payer: Payer, scope: Scope, receive: Receive) -> AsyncIterator[Selector]:
        """The selector in a request body, for the block in which it is answered.

        Raises:
            TooLargeError, WireError, SelectorError. RateLimitedError: too many requests of this grant are waiting.
        """
        async with self._bodies.place(payer) if not 0 <= declared_size(scope) <= _MODEST_BYTES else nullcontext():
            selector = await self._parsed(payer, await read_body(scope, receive, MOST_SELECTOR_BYTES))
        if len(selector.row_ids or ()) > _MODEST_IDS:
            async with self._selectors.place(payer):
                yield selector
        else:
            yield selector

    async def _parsed(self, payer: Payer, raw: bytes) -> Selector:
        return await self._work.of(payer).do(len(raw) // 8, partial(selector_of_body, raw))


def _most_connections() -> int:
    if sys.platform == "win32":
        return _MOST_CONNECTIONS
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(_KEPT_BACK, min(_MOST_CONNECTIONS, soft - _KEPT_BACK))
