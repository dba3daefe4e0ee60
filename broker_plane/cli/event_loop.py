"""The event loop of commands, in its own module so that client commands need not import a bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


def run_loop(work: object) -> None:
    """Run a coroutine, on uvloop if it is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):  # not available on Windows
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)  # type: ignore[arg-type]  # a coroutine, which every caller passes
