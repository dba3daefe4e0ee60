"""Which versions a feed retains: the newest, those within its retention, and those that durables still need.

A subscriber is given the changes since the last version it applied. So that version is retained until the subscriber
has applied a later one, however long it is offline: without it, rows removed meanwhile could not be found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.feeds.ports import DurablePosition, FeedLog
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.feeds import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What a feed retains besides its newest version. Versions beyond any one of these limits are deleted."""

    versions: int = 100
    seconds: float = 7 * 86_400
    bytes: int = 1 << 30


class RetentionEnforcer:
    """Deletes versions beyond a feed's retention."""

    def __init__(
        self,
        log: FeedLog,
        positions: Callable[[str], Awaitable[Sequence[DurablePosition]]],
        remove: Callable[[Sequence[BodyInfo]], Awaitable[None]],
        *,
        now: Callable[[], float],
    ) -> None:
        self._log = log
        self._positions = positions
        self._remove = remove
        self._now = now

    async def enforce(self, newest: Notice, retention: Retention) -> None:
        """Delete versions beyond `retention`: the notice before its bodies, so that every notice has its body.

        If this is interrupted, the next version deletes the rest, and the hourly sweep deletes bodies without notice.
        """
        with suppress(BrokerPlaneError):
            old, following = await self._beyond(newest, retention)
            if not old:
                return
            needed = needed_sequences(old, following, await self._positions(newest.feed))
            for notice in old:
                if notice.sequence not in needed:
                    await self._log.drop(notice)
                    await self._remove(notice.bodies())

    async def _beyond(self, newest: Notice, retention: Retention) -> tuple[list[Notice], int]:
        """Return the notices beyond `retention`, and the sequence of the first one that is retained."""
        old: list[Notice] = []
        async with aclosing(self._log.read(newest.feed)) as notices:
            async for notice in notices:
                if not is_beyond(notice, newest, retention, self._now()):
                    return old, notice.sequence
                old.append(notice)
        return old, newest.sequence


def needed_sequences(old: Sequence[Notice], following: int, positions: Sequence[DurablePosition]) -> set[int]:
    """Return the sequences of those of `old` that durables need; the next retained sequence is `following`.

    A durable needs the version of its checkpoint, the last version that it acknowledged, and the one that is pending.
    """
    needed: set[int] = set()
    for position in positions:
        needed.update(notice.sequence for notice in old if notice.version == position.checkpoint)
        for sequence in (position.acked, position.pending):
            if sequence < following:
                needed.update([notice.sequence for notice in old if notice.sequence <= sequence][-1:])
    return needed


def is_beyond(oldest: Notice, newest: Notice, retention: Retention, now: float) -> bool:
    """Return whether the oldest notice of a feed is beyond `retention`; the newest one never is."""
    if oldest.version >= newest.version:
        return False
    size = newest.total - oldest.total + oldest.size
    count = newest.version - oldest.version + 1
    return count > retention.versions or size > retention.bytes or now - oldest.at > retention.seconds
