"""The clock of nats-server, derived from its answers: the one clock that stored times are compared with.

nats-server stamps and expires messages. A process whose own wall clock is an hour off would expire grants too early,
forget used ones too soon and mistake a put under way for an old one. So the wall clock is not used once nats-server has
answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

MAX_SKEW_SECONDS = 10.0
"""A larger skew is reported, because logs, TLS and HTTP dates of this host are wrong by it."""

# Unlike CLOCK_MONOTONIC it continues while a laptop sleeps, as nats-server's clock does.
_ELAPSED_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds since an arbitrary moment; never steps."""
    return time.clock_gettime(_ELAPSED_CLOCK)


class ServerClock:
    """Unix seconds at nats-server. Until it has answered, and for users without API permissions, the wall clock."""

    def __init__(self, *, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = elapsed) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._offset: float | None = None

    def now(self) -> float:
        """The server's time."""
        return self._wall() if self._offset is None else self._elapsed() + self._offset

    @property
    def skew(self) -> float:
        """Seconds by which this host's wall clock is ahead of the server; 0 while unknown."""
        return 0.0 if self._offset is None else self._wall() - self.now()

    def started(self) -> float:
        """A mark for `heard`, taken before the request is sent."""
        return self._elapsed()

    def heard(self, stamp: object, started: float) -> None:
        """The server's clock was `stamp` (RFC 3339) at some moment between `started` and now.

        The known offset moves only as far as that requires, so a late answer does not turn the clock back.
        """
        if not isinstance(stamp, str):
            return
        try:
            said = datetime.fromisoformat(stamp).timestamp()
        except ValueError:
            return
        least, most = said - self._elapsed(), said - started
        self._offset = least if self._offset is None else min(max(self._offset, least), most)
