"""How large a window of a pull may be: what was sent and is not yet read sits in the broker's memory. Pure.

Few askers have two windows of up to 4 MB under way each, so that nobody waits for the other; of many each has one, of
512 KB at least, since the broker is busy with the others meanwhile. Each window costs a request, and 128 askers of 5 MB
without windows took 0.9 GB of nats-server's memory.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

LARGEST_BYTES = 4 << 20
SMALLEST_BYTES = 512 << 10
_TOGETHER_BYTES = 64 << 20
_FEW_BYTES = 4 << 20
"""A share from which an asker has two windows."""

_LIVELY_SECONDS = 1.0
_SENT_BYTES_A_SECOND = 256 << 20
"""What a broker sends at least: by this, a pull that asks for no more has had its last window."""


class Window(NamedTuple):
    """One window: how large it may be, and whether the next one may be asked for while it arrives."""

    bytes: int
    ahead: bool


class Windows:
    """The pulls that are under way, and the window that each of them gets.

    Under way is who asked for a window within the last second; and who asked for its last one, until that was sent.
    """

    def __init__(self, largest: int = LARGEST_BYTES) -> None:
        self._largest = largest
        self._until: dict[str, float] = {}
        self._after: dict[str, int] = {}
        self._ends: list[tuple[float, str]] = []

    def of(self, pull: str, now: float) -> Window:
        """The next window of `pull`; `now` is in seconds of any clock that only goes forward."""
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
        """Whether `pull` asks for the window after `after` once more: it did not come, or not all of it."""
        before = self._after.get(pull)
        self._after[pull] = after
        return before == after

    def last(self, pull: str, size: int, now: float) -> None:
        """This window of `pull`, of `size` bytes, is its last: it is sent when as much is sent to all of them."""
        self._lives(pull, now + min(_LIVELY_SECONDS, size * len(self._until) / _SENT_BYTES_A_SECOND))

    def _lives(self, pull: str, until: float) -> None:
        self._until[pull] = until
        heappush(self._ends, (until, pull))
