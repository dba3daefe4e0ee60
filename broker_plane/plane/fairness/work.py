"""Work that takes the CPU for long, away from the event loop: in threads, by turns of owners and grants.

A unit of work is a frame of a body, or the parsing of one request. Python code in a thread lets the event loop run
every few milliseconds; a call into C that holds the interpreter's lock does not, so units are small. What is smaller
than a hop to a thread is worth stays on the loop.

Passes over a body that end in no delivery (a `where`, a measured cut, a look) are paid for in CPU seconds: each grant
and each owner has an allowance that refills slowly, and one pass may not take more than a grant's allowance.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import ceil
from time import monotonic, thread_time
from typing import TypeVar

from broker_plane.errors import RateLimitedError, TooCostlyError
from broker_plane.plane.fairness.shares import Payer, Shares
from broker_plane.tabular.chunks import ZSTD
from broker_plane.tabular.codec import RawFrame

PASS_SECONDS = 30.0
"""CPU seconds that the passes of one grant may take at once, and so one pass at most."""

SMALL = 8192
"""Values, or 16 bytes each, up to which a unit is worth no hop to a thread: a millisecond or two."""

_LEAST = 64
_REFILL_SECONDS = 150.0
"""After which an allowance that was used up is full again."""

_OWNER_ALLOWANCE = 2
"""Of a grant's, what all grants of one owner have together."""

_THREADS = 2
_MOST_WAITING = 4096
_REMEMBERED = 4096

T = TypeVar("T")


class Work:
    """The threads of one process. One owner has one of them at a time, so that another owner always finds one."""

    def __init__(self, pass_seconds: float = PASS_SECONDS) -> None:
        self.pass_seconds = pass_seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="work")
        self._shares = Shares(_THREADS, owner=1, grant=1, waiting=_MOST_WAITING)
        self._grants = _Allowances(pass_seconds)
        self._owners = _Allowances(pass_seconds * _OWNER_ALLOWANCE)

    def of(self, payer: Payer) -> Account:
        """For what is done on this account."""
        return Account(self, payer)

    def begin_pass(self, payer: Payer) -> Pass:
        """For a pass over a body.

        Raises:
            RateLimitedError: the allowance of the grant or of its owner is used up.
        """
        wait = max(self._grants.wait(payer.grant), self._owners.wait(payer.owner))
        if wait > 0:
            raise RateLimitedError(
                "This grant has had as much computed as it may for now. Pull what you need, or ask again later",
                retry_after=ceil(wait),
            )
        return Pass(self, payer)

    def charge(self, payer: Payer, seconds: float) -> None:
        self._grants.charge(payer.grant, seconds)
        self._owners.charge(payer.owner, seconds)

    async def timed(self, payer: Payer, function: Callable[[], T]) -> tuple[T, float]:
        """What `function` returns, called in a thread, and the CPU seconds that it took.

        Raises:
            RateLimitedError: very much of this grant waits already.
        """
        loop = asyncio.get_running_loop()
        await self._shares.take(payer)

        def free(_: object) -> None:
            # Not before the thread is free: whoever waits for the result may have left.
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waits for a place
                loop.call_soon_threadsafe(self._shares.free, payer)

        try:
            future = self._threads.submit(_timed, function)
        except BaseException:
            self._shares.free(payer)
            raise
        future.add_done_callback(free)
        try:
            return await asyncio.wrap_future(future)
        finally:
            # An error's traceback holds this frame: with the error's own future in it, both, and the whole request
            # besides, would live until the garbage collector comes by.
            del future, function


class Account:
    """What is done for one request, unit by unit."""

    def __init__(self, work: Work, payer: Payer) -> None:
        self._work = work
        self._payer = payer
        self._here = 0

    async def do(self, cost: int, function: Callable[[], T]) -> T:
        """What `function` returns. `cost` counts the values that it looks at: of few it is called here.

        Raises:
            RateLimitedError: very much of this grant waits already.
        """
        if cost > SMALL:
            result, seconds = await self._work.timed(self._payer, function)
        else:
            self._here += max(cost, _LEAST)
            if self._here > SMALL:  # many small units in a row are as long as a large one
                self._here = 0
                await asyncio.sleep(0)
            result, seconds = _timed(function)
        self._spend(seconds)
        return result

    def _spend(self, seconds: float) -> None:
        """A delivery is paid for by its use."""


class Pass(Account):
    """One pass over a body, which is charged to the allowances."""

    _spent = 0.0

    def _spend(self, seconds: float) -> None:
        """Raises TooCostlyError: the pass has taken as long as one may."""
        self._work.charge(self._payer, seconds)
        self._spent += seconds
        if self._spent > self._work.pass_seconds:
            raise TooCostlyError(
                f"This would take more than {self._work.pass_seconds:g} s of the bridge's time. Name fewer rows, or "
                "test fewer values in `where`"
            )


def cost_of(frame: RawFrame) -> int:
    """The values of a frame, or 16 bytes of it each. What zstd makes of its bytes is known only when it is done."""
    if any(chunk.coding & ZSTD for chunk in frame.chunks):
        return SMALL + 1
    return len(frame.ids) * len(frame.chunks) + sum(len(chunk.raw) for chunk in frame.chunks) // 16


class _Allowances:
    """CPU seconds that are left, by name: a token bucket each. Only who has used some of them is remembered."""

    def __init__(self, seconds: float) -> None:
        self._full = seconds
        self._rate = seconds / _REFILL_SECONDS
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Seconds until there is something left."""
        return max(0.0, -self._now(name) / self._rate) if self._rate else 0.0

    def charge(self, name: str, seconds: float) -> None:
        self._left[name] = (self._now(name) - seconds, monotonic())
        self._left.move_to_end(name)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)

    def _now(self, name: str) -> float:
        left, at = self._left.get(name, (self._full, 0.0))
        return min(self._full, left + (monotonic() - at) * self._rate)


def _timed(function: Callable[[], T]) -> tuple[T, float]:
    began = thread_time()
    result = function()
    return result, thread_time() - began
