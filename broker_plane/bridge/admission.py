"""How much of a bridge the requests of one grant and of one owner may have at once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from starlette.types import Receive, Scope

from broker_plane.web.request import MOST_SELECTOR_BYTES, body_selector, declared_size, read_body
from broker_plane.plane.fairness.shares import Payer, Shares
from broker_plane.plane.fairness.work import Work
from broker_plane.wire.selector import Selector

_KEPT_BACK = 128
"""Descriptors for what is no request: NATS, files, probes."""

_MOST_CONNECTIONS = 8192
_STREAMS_OF_A_LIVE_GRANT = 8
"""A live stream has one reader; one that lost its connection comes again before the bridge has noticed."""

_WAITING = 256
_MODEST_BYTES = 256 << 10
_MODEST_IDS = 100_000


class Admission:
    """The shares of one bridge: half of its connections for a grant, three quarters for an owner."""

    def __init__(self, work: Work) -> None:
        most = _most_connections()
        self._work = work
        self.requests = Shares(most, owner=most * 3 // 4, grant=most // 2, waiting=0)
        """Every request of a grant, until it is answered."""
        self.streams = Shares(most // 2, owner=most * 3 // 8, grant=most // 4, waiting=0)
        """Of a feed's events, which have no end; over SSE and over WebSocket."""
        self.live = Shares(most // 2, owner=most * 3 // 8, grant=_STREAMS_OF_A_LIVE_GRANT, waiting=0)
        self._bodies = Shares(4, owner=2, grant=1, waiting=_WAITING)
        """Large request bodies that are read and parsed: each takes up to 24 MiB meanwhile."""
        self._selectors = Shares(16, owner=12, grant=4, waiting=_WAITING)
        """Answers to large selectors, which take up to 8 MiB as long as they run."""

    @asynccontextmanager
    async def selector(self, payer: Payer, scope: Scope, receive: Receive) -> AsyncIterator[Selector]:
        """The selector of a request body, for the time of the block in which it is answered.

        Raises:
            TooLargeError, WireError, SelectorError. RateLimitedError: many of this grant wait already.
        """
        async with self._bodies.place(payer) if not 0 <= declared_size(scope) <= _MODEST_BYTES else nullcontext():
            selector = await self._parsed(payer, await read_body(scope, receive, MOST_SELECTOR_BYTES))
        if len(selector.row_ids or ()) > _MODEST_IDS:
            async with self._selectors.place(payer):
                yield selector
        else:
            yield selector

    async def _parsed(self, payer: Payer, raw: bytes) -> Selector:
        return await self._work.of(payer).do(len(raw) // 8, partial(body_selector, raw))


def _most_connections() -> int:
    if sys.platform == "win32":
        return _MOST_CONNECTIONS
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(_KEPT_BACK, min(_MOST_CONNECTIONS, soft - _KEPT_BACK))
