"""The end of a command's process. Every command imports this, so it imports no event loop."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import NoReturn

_LEFT_SECONDS = 1.0
"""How long threads may take that have nothing more to do."""

_leaves_threads = False


def leave_threads_behind() -> None:
    """At the end of this command, do not wait for threads: those of a server's tools cannot be stopped."""
    global _leaves_threads
    _leaves_threads = True


def end_with(command: Callable[[], int]) -> NoReturn:
    """Carry out a command, and exit with the code that it returns."""
    global _leaves_threads
    _leaves_threads = False  # an earlier command in this process may have wanted it
    code = command()
    if _leaves_threads and _some_run():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _some_run() -> bool:
    """Whether threads for which the interpreter would wait still run, after a moment."""
    others = [each for each in threading.enumerate() if each is not threading.current_thread() and not each.daemon]
    until = monotonic() + _LEFT_SECONDS
    for thread in others:
        thread.join(max(0.0, until - monotonic()))
    return any(thread.is_alive() for thread in others)
