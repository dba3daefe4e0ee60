"""Limits how many large selectors a bridge reads and keeps at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from starlette.types import Receive, Scope

from broker_plane.bridge.selectors import MOST_SELECTOR_BYTES, selector_of_body
from broker_plane.plane.fairness.shares import Payer, Shares
from broker_plane.plane.fairness.work import Work
from broker_plane.web.request import declared_size, read_body
from broker_plane.wire.selector import Selector

_WAITING = 256
_MODEST_BYTES = 256 << 10
_MODEST_IDS = 100_000


class SelectorAdmission:
    """The shares of one bridge."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._bodies = Shares(4, owner=2, grant=1, waiting=_WAITING)
        """Large request bodies that are being read and parsed; each may use up to 24 MiB."""
        self._selectors = Shares(16, owner=12, grant=4, waiting=_WAITING)
        """Answers to large selectors, each of which may use up to 8 MiB until it ends."""

    @asynccontextmanager
    async def read(self, payer: Payer, scope: Scope, receive: Receive) -> AsyncIterator[Selector]:
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
