"""How large a window of a pull may be: what was sent and is not yet read sits in the broker's memory. Pure.

A lone asker gets 4 MB at once, many get 512 KB each: 128 askers of 5 MB took 0.28 GB of nats-server's memory with
that, and 0.9 GB without, and were faster.
"""

from __future__ import annotations

from collections import OrderedDict

LARGEST_BYTES = 4 << 20
SMALLEST_BYTES = 512 << 10
_TOGETHER_BYTES = 16 << 20
_LIVELY_SECONDS = 1.0


class Windows:
    """The pulls that asked for a window within the last second, and the window that each of them gets."""

    def __init__(self, largest: int = LARGEST_BYTES) -> None:
        self._largest = largest
        self._asked: OrderedDict[str, float] = OrderedDict()

    def of(self, pull: str, now: float) -> int:
        """Bytes of the next window of `pull`; `now` is in seconds of any clock that only goes forward."""
        self._asked[pull] = now
        self._asked.move_to_end(pull)
        while now - next(iter(self._asked.values())) > _LIVELY_SECONDS:
            self._asked.popitem(last=False)
        share = _TOGETHER_BYTES // len(self._asked)
        return min(self._largest, max(SMALLEST_BYTES, share))
