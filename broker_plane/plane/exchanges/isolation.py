"""Requests that may have ended their process are carried out one at a time, so that an end is the fault of one."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

TURN_SECONDS = 5.0
"""How long a request waits for its turn before it is given back; another process may have room for it."""

HELD_SECONDS = 5.0
"""How long one has the turn, so that requests which take an hour do not take it one after the other."""


class Isolation:
    """The one turn of a process."""

    def __init__(self) -> None:
        self._holder: object | None = None
        self._waiting: deque[asyncio.Event] = deque()

    def begin(self, run: object) -> bool:
        """Take the turn, which ends after `HELD_SECONDS`. False: another one has it."""
        if self._holder is None:
            self._holder = run
            asyncio.get_running_loop().call_later(HELD_SECONDS, self.end, run)
        return self._holder is run

    def end(self, run: object) -> None:
        """Give the turn back, if this has it, and wake the one that has waited for the longest time."""
        if self._holder is run:
            self._holder = None
            if self._waiting:
                self._waiting[0].set()

    async def free(self) -> None:
        """Wait for the turn to become free, and at most `TURN_SECONDS`."""
        freed = asyncio.Event()
        self._waiting.append(freed)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(freed.wait(), TURN_SECONDS)
        finally:
            self._waiting.remove(freed)
