"""How large a window of a pull may be: what was sent and is not yet read sits in the broker's memory. Pure.

A lone asker has two windows of 4 MB under way, many have less: 128 askers of 5 MB took 0.28 GB of nats-server's memory
with that, and 0.9 GB without, and were faster.
"""

from __future__ import annotations

from heapq import heappop, heappush

LARGEST_BYTES = 4 << 20
SMALLEST_BYTES = 512 << 10
_TOGETHER_BYTES = 16 << 20
_LIVELY_SECONDS = 1.0
_SENT_BYTES_A_SECOND = 256 << 20
"""What a broker sends at least: by this, a pull that asks for no more has had its last window."""


class Windows:
    """The pulls that are under way, and the window that each of them gets.

    Under way is who asked for a window within the last second; and who asked for its last one, until that was sent.
    """

    def __init__(self, largest: int = LARGEST_BYTES) -> None:
        self._largest = largest
        self._until: dict[str, float] = {}
        self._ends: list[tuple[float, str]] = []

    def of(self, pull: str, now: float) -> int:
        """Bytes of the next window of `pull`; `now` is in seconds of any clock that only goes forward."""
        while self._ends and self._ends[0][0] < now:
            ended, name = heappop(self._ends)
            if self._until.get(name) == ended:
                del self._until[name]
        self._lives(pull, now + _LIVELY_SECONDS)
        return min(self._largest, max(SMALLEST_BYTES, _TOGETHER_BYTES // len(self._until)))

    def last(self, pull: str, size: int, now: float) -> None:
        """This window of `pull`, of `size` bytes, is its last: it is sent when as much is sent to all of them."""
        self._lives(pull, now + min(_LIVELY_SECONDS, size * len(self._until) / _SENT_BYTES_A_SECOND))

    def _lives(self, pull: str, until: float) -> None:
        self._until[pull] = until
        heappush(self._ends, (until, pull))
