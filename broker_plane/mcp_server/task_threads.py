"""Threads for the plain functions of tasks: their own, because they may block for hours.

The threads of anyio are 40 for the whole process, and other tools need them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

T = TypeVar("T")

MAX_THREADS = 256
"""Plain functions of tasks and of steps that run at once in one process; others wait."""

_limiter: RunVar[CapacityLimiter] = RunVar("task_threads")


async def in_thread(function: Callable[[], T]) -> T:
    """What `function` returns. A thread cannot be interrupted; whoever is cancelled does not wait for it."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(MAX_THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=limiter)
