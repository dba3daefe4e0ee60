"""How large a window of a pull may be: bytes that were sent and not yet read are in the broker's memory. Pure.

Few pullers have two windows of up to 4 MB in flight each, so that neither side waits for the other. Many pullers have
one each, of at least 512 KB, since the broker is busy with the others meanwhile. Each window costs a request; 128
pullers of 5 MB without windows took 0.9 GB of nats-server's memory.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

LARGEST_BYTES = 4 << 20
SMALLEST_BYTES = 512 << 10
_TOGETHER_BYTES = 64 << 20
_FEW_BYTES = 4 << 20
"""The share from which a puller has two windows."""

_LIVELY_SECONDS = 1.0
_SENT_BYTES_A_SECOND = 256 << 20
"""The minimum rate that a broker sends at: after this time a pull that requests no more has its last window."""


class Window(NamedTuple):
    """One window: its maximum size in bytes, and whether the next one may be requested while it arrives."""

    bytes: int
    ahead: bool


class Windows:
    """The pulls under way, and the window that each of them gets.

    A pull is under way if it requested a window within the last second; after its last window, until that was sent.
    """

    def __init__(self, largest: int = LARGEST_BYTES) -> None:
        self._largest = largest
        self._until: dict[str, float] = {}
        self._after: dict[str, int] = {}
        self._ends: list[tuple[float, str]] = []

    def of(self, pull: str, now: float) -> Window:
        """The next window of `pull`; `now` is in seconds of a monotonic clock."""
        while self._ends and self._ends[0][0] < now:
            ended, name = heappop(self._ends)
            if self._until.get(name) == ended:
                del self._until[name]
                self._after.pop(name, None)
        self._lives(pull, now + _LIVELY_SECONDS)
        share = _TOGETHER_BYTES // len(self._until)
        if share >= _FEW_BYTES:
            return Window(min(self._largest, share // 2), ahead=True)
        return Window(min(self._largest, max(SMALLEST_BYTES, share)), ahead=False)

    def again(self, pull: str, after: int) -> bool:
        """Whether `pull` requests the window after `after` again: it was lost, at least in part."""
        before = self._after.get(pull)
        self._after[pull] = after
        return before == after

    def last(self, pull: str, size: int, now: float) -> None:
        """This window of `pull`, of `size` bytes, is its last: it counts until as much was sent to all pulls."""
        self._lives(pull, now + min(_LIVELY_SECONDS, size * len(self._until) / _SENT_BYTES_A_SECOND))

    def _lives(self, pull: str, until: float) -> None:
        self._until[pull] = until
        heappush(self._ends, (until, pull))
