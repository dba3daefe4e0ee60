"""The clock of nats-server, as its answers tell it: the one clock that everything stored is compared with.

Messages are stamped and expired by nats-server. A process whose own wall clock is an hour off would expire grants too
early, forget used ones too soon and take a put under way for an old one; so nothing here asks the wall clock once
nats-server has been heard.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

MOST_SKEW_SECONDS = 10.0
"""A wall clock that is further off is reported: logs, TLS and HTTP dates of this host are wrong by that much."""

# Unlike CLOCK_MONOTONIC it goes on while a laptop sleeps, as nats-server's clock does.
_ELAPSED_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds since some moment; never steps."""
    return time.clock_gettime(_ELAPSED_CLOCK)


class ServerClock:
    """Unix seconds at nats-server. Until it was heard, and for users who may ask it nothing, the wall clock."""

    def __init__(self, *, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = elapsed) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._offset: float | None = None

    def now(self) -> float:
        """The server's time."""
        return self._wall() if self._offset is None else self._elapsed() + self._offset

    @property
    def skew(self) -> float:
        """Seconds by which this host's wall clock is ahead of the server; 0 as long as that is not known."""
        return 0.0 if self._offset is None else self._wall() - self.now()

    def started(self) -> float:
        """A mark for `heard`, taken before the question is sent."""
        return self._elapsed()

    def heard(self, stamp: object, started: float) -> None:
        """The server said `stamp` (RFC 3339) at some moment between `started` and now.

        What is known already is moved no further than that: a late answer does not turn the clock back.
        """
        if not isinstance(stamp, str):
            return
        try:
            said = datetime.fromisoformat(stamp).timestamp()
        except ValueError:
            return
        least, most = said - self._elapsed(), said - started
        self._offset = least if self._offset is None else min(max(self._offset, least), most)
