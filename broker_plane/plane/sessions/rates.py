"""How many requests a second each participant, and each grant, may make: a token bucket each.

Pure but for the clock that is given.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import Final

from broker_plane.errors import RateLimitedError

GRANT_FACTOR: Final = 10
"""All who share a grant may make so many times as many requests as one participant. Names cost nothing, grants do."""

_BURST_SECONDS: Final = 2.0
_REMEMBERED: Final = 4096


class RequestRates:
    """The requests of the participants of one session."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._of_participants = _Buckets(float(per_second))
        # Apart, so that invented names do not make it forget a grant.
        self._of_grants = _Buckets(float(per_second * GRANT_FACTOR))

    def take(self, participant: str, grant: str = "") -> None:
        """Count one request. `grant` is what all holders of a grant share; empty: nobody else has this participant's.

        Raises:
            RateLimitedError: the participant or the grant made too many; it may retry after `retry_after` seconds.
        """
        now = self._clock()
        _check(self._of_participants, participant, now, "one participant")
        if grant:
            _check(self._of_grants, grant, now, "the holders of one grant")
            self._of_grants.take(grant)
        self._of_participants.take(participant)


class _Buckets:
    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._full = max(1.0, per_second * _BURST_SECONDS)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """The seconds until a bucket has a token; 0 if it has one. Tokens that came since the last time are added."""
        left, at = self._left.get(key, (self._full, now))
        left = min(self._full, left + (now - at) * self.per_second)
        self._left[key] = left, now
        self._left.move_to_end(key)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
        return max(0.0, (1 - left) / self.per_second)

    def take(self, key: str) -> None:
        """Take the token that `wait` found."""
        left, at = self._left[key]
        self._left[key] = left - 1, at


def _check(buckets: _Buckets, key: str, now: float, whose: str) -> None:
    if wait := buckets.wait(key, now):
        raise RateLimitedError(
            f"This session allows {buckets.per_second:g} requests a second of {whose} "
            "(limits.operations_per_second); send fewer",
            retry_after=ceil(wait * 1000) / 1000,
        )
