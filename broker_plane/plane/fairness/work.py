"""CPU-bound work away from the event loop: in threads, in turns of owners and grants.

A unit of work is a frame of a body, or the parsing of one request. Python code in a thread lets the event loop run
every few milliseconds; a call into C that holds the interpreter's lock does not, so units are small. Units that take
less time than the hop to a thread run on the event loop, and so do frames of a few milliseconds while only one request
has work: its thread and the event loop would keep taking the lock from each other.

Passes over a body that do not end in a delivery (a `where`, a measured cut, a preview) are paid for in CPU seconds:
each grant and each owner has an allowance that refills slowly, and one pass may take at most a grant's allowance.
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
from weakref import WeakSet

from broker_plane.errors import RateLimitedError, TooCostlyError
from broker_plane.plane.fairness.shares import Payer, Shares

PASS_SECONDS = 30.0
"""CPU seconds that the passes of one grant may take at once, and the maximum of one pass."""

SMALL = 16_384
"""Cost (values, or 16 bytes each) up to which a unit runs on the event loop: one or two milliseconds."""

SMALL_FRAME = 8 * SMALL
"""The same for a frame of the only request that has work: five to ten milliseconds, and then others have a turn."""

_ACCOUNTS = 2
"""A request has an account for its frames, and perhaps one for its answer."""

_LEAST = 64
_REFILL_SECONDS = 150.0
"""Time after which an empty allowance is full again."""

_OWNER_ALLOWANCE = 2
"""The allowance of all grants of one owner together, in allowances of one grant."""

_THREADS = 2
_MOST_WAITING = 4096
_REMEMBERED = 4096

T = TypeVar("T")
A = TypeVar("A", bound="Account")


class Work:
    """The threads of one process. One owner uses one of them at a time, so that another owner always finds one."""

    def __init__(self, pass_seconds: float = PASS_SECONDS) -> None:
        self.pass_seconds = pass_seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="work")
        self._shares = Shares(_THREADS, owner=1, grant=1, waiting=_MOST_WAITING)
        self._grants = _Allowances(pass_seconds)
        self._owners = _Allowances(pass_seconds * _OWNER_ALLOWANCE)
        self._accounts: WeakSet[Account] = WeakSet()

    @property
    def small_frame(self) -> int:
        """The cost up to which a frame is read on the event loop now."""
        alone = len(self._accounts) <= _ACCOUNTS and len({each.payer for each in self._accounts}) <= 1
        return SMALL_FRAME if alone else SMALL

    def of(self, payer: Payer) -> Account:
        """For work on this account."""
        return self._opened(Account(self, payer))

    def begin_pass(self, payer: Payer) -> Pass:
        """For a pass over a body.

        Raises:
            RateLimitedError: the allowance of the grant or of its owner is used up.
        """
        wait = max(self._grants.wait(payer.grant), self._owners.wait(payer.owner))
        if wait > 0:
            raise RateLimitedError(
                "This grant has used its allowance of computing time for now. Pull what you need, or try again later",
                retry_after=ceil(wait),
            )
        return self._opened(Pass(self, payer))

    def _opened(self, account: A) -> A:
        self._accounts.add(account)
        return account

    def charge(self, payer: Payer, seconds: float) -> None:
        self._grants.charge(payer.grant, seconds)
        self._owners.charge(payer.owner, seconds)

    async def timed(self, payer: Payer, function: Callable[[], T]) -> tuple[T, float]:
        """The result of `function`, called in a thread, and the CPU seconds that it took.

        Raises:
            RateLimitedError: very many units of this grant are waiting already.
        """
        loop = asyncio.get_running_loop()
        await self._shares.take(payer)

        def free(_: object) -> None:
            # Not before the thread is free: the caller may have been cancelled.
            with suppress(RuntimeError):  # the loop has ended, and nobody waits for a place
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
            # An error's traceback refers to this frame: with the error's own future in it, both, and the whole
            # request, would live until the garbage collector runs.
            del future, function


class Account:
    """The work of one request, unit by unit."""

    def __init__(self, work: Work, payer: Payer) -> None:
        self._work = work
        self.payer = payer
        self._here = 0

    async def do(self, cost: int, function: Callable[[], T]) -> T:
        """The result of `function`. `cost` is the number of values that it handles; cheap units are called right here.

        Raises:
            RateLimitedError: very many units of this grant are waiting already.
        """
        return await self._do(cost, function, SMALL)

    async def do_frame(self, cost: int, function: Callable[[], T]) -> T:
        """As `do`, for a frame of a body, whose cost says well how long it takes."""
        return await self._do(cost, function, self._work.small_frame if cost > SMALL else SMALL)

    async def _do(self, cost: int, function: Callable[[], T], small: int) -> T:
        if cost > small:
            result, seconds = await self._work.timed(self.payer, function)
        else:
            self._here += max(cost, _LEAST)
            if self._here > SMALL:  # many small units in a row take as long as a large one
                self._here = 0
                await asyncio.sleep(0)
            return self._here_and_now(function)
        self._spend(seconds)
        return result

    def _here_and_now(self, function: Callable[[], T]) -> T:
        return function()

    def _spend(self, seconds: float) -> None:
        """Deliveries are paid for by their use."""


class Pass(Account):
    """One pass over a body, which is charged to the allowances."""

    _spent = 0.0

    @property
    def left(self) -> float:
        """CPU seconds that this pass may still take."""
        return max(0.0, self._work.pass_seconds - self._spent)

    def _here_and_now(self, function: Callable[[], T]) -> T:
        result, seconds = _timed(function)
        self._spend(seconds)
        return result

    def _spend(self, seconds: float) -> None:
        """Raises TooCostlyError: the pass has taken the maximum time."""
        self._work.charge(self.payer, seconds)
        self._spent += seconds
        if self._spent > self._work.pass_seconds:
            raise TooCostlyError(
                f"This would take more than {self._work.pass_seconds:g} s of the bridge's time. Name fewer rows, or "
                "test fewer values in `where`"
            )


class _Allowances:
    """The CPU seconds that are left, by name: token buckets. Only used ones are kept."""

    def __init__(self, seconds: float) -> None:
        self._full = seconds
        self._rate = seconds / _REFILL_SECONDS
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Seconds until something is left."""
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
