"""Places for a scarce resource, shared by owner and by grant, so that none of them can take all.

A request beyond its share waits in a queue of its own grant. Free places go to the owners in turns, and within an owner
to its grants in turns, so a long queue of one grant delays only that grant.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from broker_plane.errors import RateLimitedError


class Payer(NamedTuple):
    """The account that work is done on."""

    owner: str
    grant: str


@dataclass(slots=True)
class _Grant:
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


@dataclass(slots=True)
class _Owner:
    running: int = 0
    grants: OrderedDict[str, _Grant] = field(default_factory=OrderedDict)


class _Place:
    """Has a place while a block runs. A class, because a generator takes twice the time, and every request has one."""

    __slots__ = ("_payer", "_shares")

    def __init__(self, shares: Shares, payer: Payer) -> None:
        self._shares = shares
        self._payer = payer

    async def __aenter__(self) -> None:
        await self._shares.take(self._payer)

    async def __aexit__(self, *error: object) -> None:
        self._shares.free(self._payer)


class Shares:
    """At most `total` places, of which one owner has at most `owner` and one grant at most `grant`.

    At most `waiting` requests wait for each grant; with 0, every request beyond the share is refused.
    """

    def __init__(self, total: int, *, owner: int, grant: int, waiting: int) -> None:
        self._total = total
        self._per_owner = owner
        self._per_grant = grant
        self._most_waiting = waiting
        self._running = 0
        self._owners: OrderedDict[str, _Owner] = OrderedDict()

    def place(self, payer: Payer) -> AbstractAsyncContextManager[None]:
        """A place while the block runs.

        Raises:
            RateLimitedError: the share is in use, and its queue is full.
        """
        return _Place(self, payer)

    @asynccontextmanager
    async def left(self, payer: Payer) -> AsyncIterator[None]:
        """Within `place`: give the place to others while the block runs, which waits for something else."""
        self.free(payer)
        try:
            yield
        finally:
            try:
                await self.take(payer, always=True)
            except BaseException:
                grant = self._grant(payer)
                self._begin(self._owners[payer.owner], grant)  # `place` frees it right away
                raise

    async def take(self, payer: Payer, *, always: bool = False) -> None:
        """As `place`, until `free` is called. `always`: even if the queue is full."""
        grant = self._grant(payer)
        if not grant.waiting and self._fits(self._owners[payer.owner], grant):
            self._begin(self._owners[payer.owner], grant)
            return
        if len(grant.waiting) >= self._most_waiting and not always:
            self._forget(payer)
            raise RateLimitedError(
                "This grant has the maximum number of requests under way. Wait for an answer, then send the next one",
                retry_after=1,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        grant.waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.free(payer)  # its turn came at the moment when it gave up
            else:
                grant.waiting.remove(turn)
                self._forget(payer)
                self._advance()  # requests behind it may have waited only because of it
            raise

    def free(self, payer: Payer) -> None:
        """Free a place of `payer` and give it to the next in turn."""
        owner = self._owners[payer.owner]
        owner.running -= 1
        owner.grants[payer.grant].running -= 1
        self._running -= 1
        self._forget(payer)
        self._advance()

    def _advance(self) -> None:
        while self._next():
            pass

    def _next(self) -> bool:
        """Give one place to the next owner and grant that wait and may have one; returns whether there was one."""
        if self._running >= self._total:
            return False
        for name, owner in self._owners.items():
            if owner.running >= self._per_owner:
                continue
            for grant_name, grant in owner.grants.items():
                # A request that is being cancelled has not run since, and removes itself from the queue.
                turn = next((turn for turn in grant.waiting if not turn.done()), None)
                if turn is not None and grant.running < self._per_grant:
                    self._begin(owner, grant)
                    grant.waiting.remove(turn)
                    turn.set_result(None)
                    owner.grants.move_to_end(grant_name)
                    self._owners.move_to_end(name)
                    return True
        return False

    def _fits(self, owner: _Owner, grant: _Grant) -> bool:
        return self._running < self._total and owner.running < self._per_owner and grant.running < self._per_grant

    def _begin(self, owner: _Owner, grant: _Grant) -> None:
        self._running += 1
        owner.running += 1
        grant.running += 1

    def _grant(self, payer: Payer) -> _Grant:
        owner = self._owners.setdefault(payer.owner, _Owner())
        return owner.grants.setdefault(payer.grant, _Grant())

    def _forget(self, payer: Payer) -> None:
        """Forget owners and grants that have no places and no queue."""
        owner = self._owners[payer.owner]
        grant = owner.grants[payer.grant]
        if not grant.running and not grant.waiting:
            del owner.grants[payer.grant]
        if not owner.grants:
            del self._owners[payer.owner]
