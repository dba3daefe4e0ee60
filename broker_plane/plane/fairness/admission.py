"""A budget of bytes in flight, shared in turns: by owner, then by holder of a grant, then in order of arrival.

Requests that do not fit wait and are served later; nobody is refused. One holder gets at most three quarters of the
budget, so that the next holder never waits for the slow reads of the first.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from contextvars import ContextVar
from typing import NamedTuple

HOLDER: ContextVar[str] = ContextVar("HOLDER", default="")
"""The id of the root grant that this task reads for; `Deliveries.open` sets it."""

READ_BYTES = 32 << 20
"""Default for the bytes in flight between the broker and one process: an eighth of `max_pending`."""


class BudgetShare(NamedTuple):
    """The account that bytes are taken on."""

    owner: str
    holder: str = ""


class _Waiting(NamedTuple):
    size: int
    admitted: asyncio.Future[None]


class ByteBudget:
    """At most `limit` bytes are taken at a time. Bytes must be given back under the same share and size."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.waiting = 0
        """The number of waiting requests."""
        self.most = 0
        """The most that was ever in use, for tests and metrics."""
        self._used_by: Counter[BudgetShare] = Counter()
        self._queues: OrderedDict[str, OrderedDict[str, deque[_Waiting]]] = OrderedDict()

    async def take(self, size: int, share: BudgetShare) -> None:
        """Wait until `size` bytes are free; a size above the whole budget counts as the whole budget."""
        if self.take_now(size, share):
            return
        waiting = _Waiting(size, asyncio.get_running_loop().create_future())
        self._queues.setdefault(share.owner, OrderedDict()).setdefault(share.holder, deque()).append(waiting)
        self.waiting += 1
        self._admit()
        try:
            await waiting.admitted
        except asyncio.CancelledError:
            if waiting.admitted.cancelled():
                self._leave(share, waiting)
                self._admit()
            else:
                self.give(size, share)
            raise

    def take_now(self, size: int, share: BudgetShare) -> bool:
        """Take `size` bytes if they are free and nobody waits; returns whether they were taken."""
        if self._queues or not self._fits(size, share):
            return False
        self._count(size, share)
        return True

    def give(self, size: int, share: BudgetShare) -> None:
        """Give `size` bytes back, and admit the requests that fit now."""
        self._count(-size, share)
        self._admit()

    def _fits(self, size: int, share: BudgetShare) -> bool:
        size = min(size, self.limit)
        if self.used + size > self.limit:
            return False
        own = self._used_by[share]
        return not own or own + size <= self.limit * 3 // 4

    def _count(self, size: int, share: BudgetShare) -> None:
        size = max(-self.limit, min(size, self.limit))
        self.used += size
        self.most = max(self.most, self.used)
        self._used_by[share] += size
        if not self._used_by[share]:
            del self._used_by[share]

    def _admit(self) -> None:
        while (chosen := self._next()) is not None:
            share, waiting = chosen
            self._queues.move_to_end(share.owner)
            self._queues[share.owner].move_to_end(share.holder)
            self._leave(share, waiting)
            if not waiting.admitted.done():
                self._count(waiting.size, share)
                waiting.admitted.set_result(None)

    def _next(self) -> tuple[BudgetShare, _Waiting] | None:
        """The next request in turn, if it fits."""
        for owner, holders in self._queues.items():
            for holder, queue in holders.items():
                share, waiting = BudgetShare(owner, holder), queue[0]
                if waiting.admitted.done() or self._fits(waiting.size, share):
                    return share, waiting
                if self.used + waiting.size > self.limit:
                    # It keeps its turn until enough is free: small requests must not overtake a large one forever.
                    return None
        return None

    def _leave(self, share: BudgetShare, waiting: _Waiting) -> None:
        holders = self._queues.get(share.owner, OrderedDict())
        queue = holders.get(share.holder, deque())
        if waiting in queue:
            queue.remove(waiting)
            self.waiting -= 1
        if not queue:
            holders.pop(share.holder, None)
        if not holders:
            self._queues.pop(share.owner, None)
