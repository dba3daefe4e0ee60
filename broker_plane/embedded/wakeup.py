"""Signals as selector input: the end of a child interrupts a wait, and stop requests are seen between steps."""

from __future__ import annotations

import os
import selectors
import signal
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wakeup:
    """Catches the signals of this process."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.stop = False
        """True after a request to stop."""
        self._read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        selector.register(self._read_end, selectors.EVENT_READ, self)
        for number in STOPS:
            signal.signal(number, self._remember)
        # Without a handler, SIGCHLD would not reach the pipe.
        signal.signal(signal.SIGCHLD, _ignore)

    def read(self) -> bool:
        """Drain the pipe; the selector calls this like the readers of the children's output."""
        os.read(self._read_end, 4096)
        return True

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.stop = True


def _ignore(number: int, frame: FrameType | None) -> None:
    """The wait is over; the next step finds out which child ended."""
