"""What a feed keeps: its newest version, as many as its publisher says, and those that subscribers stand at.

A subscriber is told what changed since the version that it took last. So that version stays until it has taken a later
one, however long it is away: it may be the only way to find out what was removed meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.feeds.ports import FeedLog, Standing
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.feeds import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What a feed keeps besides its newest version, which it always keeps: whatever is beyond one of these goes."""

    versions: int = 100
    seconds: float = 7 * 86_400
    bytes: int = 1 << 30


class Retained:
    """Drops what is beyond a feed's retention."""

    def __init__(
        self,
        log: FeedLog,
        standings: Callable[[str], Awaitable[Sequence[Standing]]],
        remove: Callable[[Sequence[BodyInfo]], Awaitable[None]],
        *,
        now: Callable[[], float],
    ) -> None:
        self._log = log
        self._standings = standings
        self._remove = remove
        self._now = now

    async def keep(self, newest: Notice, retention: Retention) -> None:
        """Drop what is beyond `retention`: the notice first, so that none is there without its body.

        What breaks off here is taken up by the next version, or by a sweep.
        """
        with suppress(BrokerPlaneError):
            old, following = await self._beyond(newest, retention)
            if not old:
                return
            needed = _needed(old, following, await self._standings(newest.feed))
            for notice in old:
                if notice.sequence not in needed:
                    await self._log.drop(notice)
                    await self._remove(notice.bodies())

    async def _beyond(self, newest: Notice, retention: Retention) -> tuple[list[Notice], int]:
        """The notices that may go, and the sequence of the first one behind them."""
        old: list[Notice] = []
        async with aclosing(self._log.read(newest.feed)) as notices:
            async for notice in notices:
                if not beyond(notice, newest, retention, self._now()):
                    return old, notice.sequence
                old.append(notice)
        return old, newest.sequence


def _needed(old: Sequence[Notice], following: int, standings: Sequence[Standing]) -> set[int]:
    """The sequences of those of `old` that subscribers stand at; behind them comes `following`."""
    needed: set[int] = set()
    for standing in standings:
        needed.update(notice.sequence for notice in old if notice.version == standing.version)
        for place in (standing.taken, standing.under_way):
            if place < following:
                needed.update([notice.sequence for notice in old if notice.sequence <= place][-1:])
    return needed


def beyond(oldest: Notice, newest: Notice, retention: Retention, now: float) -> bool:
    """Whether the oldest notice of a feed is to go; the newest one never is."""
    if oldest.version >= newest.version:
        return False
    size = newest.total - oldest.total + oldest.size
    count = newest.version - oldest.version + 1
    return count > retention.versions or size > retention.bytes or now - oldest.at > retention.seconds
