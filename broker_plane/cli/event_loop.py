"""The event loop of commands, in its own module so that client commands need not import a bridge."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import NoReturn

_LEFT_SECONDS = 1.0
"""How long threads may take that have nothing more to do."""

_leaves_threads = False


def run_loop(work: object) -> None:
    """Run a coroutine, on uvloop if it is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):  # not available on Windows
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)  # type: ignore[arg-type]  # a coroutine, which every caller passes


def leave_threads_behind() -> None:
    """At the end of the process, do not wait for threads: those of a server's tools cannot be stopped."""
    global _leaves_threads
    _leaves_threads = True


def end_process(code: int) -> NoReturn:
    """Exit. Call this when everything is closed."""
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
