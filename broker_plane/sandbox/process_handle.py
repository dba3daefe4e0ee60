"""A process that is killed for certain, and no other one by mistake."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


class ProcessHandle:
    """Holds on to a process, so that its id cannot come to mean another one before it is killed.

    asyncio's own `kill` first asks whether the process has ended, and then its watcher misses the exit code.
    """

    def __init__(self, process: int) -> None:
        self.process = process
        self._descriptor: int | None = None
        if sys.platform == "linux":
            with suppress(ProcessLookupError):  # it has ended already
                self._descriptor = os.pidfd_open(process)

    def kill(self) -> None:
        """Kill the process, if it has not ended."""
        with suppress(ProcessLookupError):
            if sys.platform != "linux":
                os.kill(self.process, signal.SIGKILL)
            elif self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def kill_group(self) -> None:
        """Kill a process that leads a group and has not ended, with all that are in the group."""
        with suppress(ProcessLookupError):
            if sys.platform == "linux" and self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, 0)  # raises if the id may mean another group by now
            os.killpg(self.process, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
