"""Decides when a window of a pull over NATS may be sent: bytes that were sent and not yet read are in the broker's
memory.

A window counts from the moment it is sent until its puller requests the next one, which shows that it arrived. After
the last window nothing reliable follows, so it counts for the time that the broker needs to send everything that
counts. The window of a puller that has gone silent stops counting after `SILENT_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from broker_plane.errors import BrokerUnavailableError
from broker_plane.plane.fairness.admission import BudgetShare, ByteBudget

TOGETHER_BYTES = 64 << 20
MOST_WAITING = 4096
SILENT_SECONDS = 10.0
_SENT_BYTES_A_SECOND = 128 << 20
"""The rate that even a busy broker sends at."""

_MOST_LAST_SECONDS = 1.0


class _Window(NamedTuple):
    size: int
    share: BudgetShare
    lapse: asyncio.TimerHandle | None
    """None until it is sent."""


class Turns:
    """The windows of all pulls under way; at most `limit` bytes of them count at a time."""

    def __init__(self, limit: int = TOGETHER_BYTES) -> None:
        self.budget = ByteBudget(limit)
        self._sent: dict[str, deque[_Window]] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def has(self, pull: str, *, but: int = 0) -> None:
        """The puller of `pull` has received all windows sent so far, except the last `but` of them."""
        windows = self._sent.get(pull)
        while windows and len(windows) > but:
            self._end(pull, windows[0])

    async def take(self, pull: str, size: int, share: BudgetShare) -> None:
        """Wait for the turn of a window of up to `size` bytes; `sent` or `has` must follow.

        A second request for the same pull replaces the first.

        Raises:
            CancelledError: the request was replaced; nobody waits for its answer any more.
            BrokerUnavailableError: too many requests are waiting already.
        """
        if self.budget.waiting >= MOST_WAITING:
            raise BrokerUnavailableError("Very many pulls are waiting for their turn; try again", retry_after=1)
        replaced = self._waiting.pop(pull, None)
        if replaced is not None:
            replaced.cancel()
        if not self.budget.take_now(size, share):
            await self._wait(pull, size, share)
        self._sent.setdefault(pull, deque()).append(_Window(size, share, None))

    async def _wait(self, pull: str, size: int, share: BudgetShare) -> None:
        taking = self._waiting[pull] = asyncio.create_task(self.budget.take(size, share))
        try:
            await taking
        except asyncio.CancelledError:
            if taking.done() and not taking.cancelled():
                self.budget.give(size, share)
            taking.cancel()
            raise
        finally:
            if self._waiting.get(pull) is taking:
                del self._waiting[pull]

    def fits(self, size: int) -> bool:
        """Whether nobody waits and this much is free."""
        return not self.budget.waiting and self.budget.used + size <= self.budget.limit

    def sent(self, pull: str, size: int, *, last: bool) -> None:
        """The window of `pull` that was taken last has `size` bytes in fact; after the `last` window no other
        follows.
        """
        windows = self._sent.get(pull)
        if not windows:
            return
        window = windows.pop()
        if window.lapse is not None:
            window.lapse.cancel()
        size = min(size, window.size)
        if window.size > size:
            self.budget.give(window.size - size, window.share)
        seconds = min(_MOST_LAST_SECONDS, self.budget.used / _SENT_BYTES_A_SECOND) if last else SILENT_SECONDS
        lapse = asyncio.get_running_loop().call_later(seconds, self.has, pull)
        windows.append(_Window(size, window.share, lapse))

    def _end(self, pull: str, window: _Window) -> None:
        if window.lapse is not None:
            window.lapse.cancel()
        self._sent[pull].remove(window)
        if not self._sent[pull]:
            del self._sent[pull]
        self.budget.give(window.size, window.share)
