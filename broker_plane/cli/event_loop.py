"""The event loop of a command. Apart, because a command that only asks need not import a bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


def run_loop(work: object) -> None:
    """Run a coroutine on uvloop where there is one."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):  # Windows has none
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)  # type: ignore[arg-type]  # a coroutine, which every caller passes
