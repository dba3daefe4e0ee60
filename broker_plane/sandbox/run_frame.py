"""What every rung does around a run: the clock, the limits on output, and the verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from broker_plane.sandbox.details import detail
from broker_plane.sandbox.host_functions import HostFunctions, LimitExceededError
from broker_plane.sandbox.ports import Door, Job, RungName, RunVerdict, Sink, Status

_KEPT_CHARACTERS: Final = 4096
_CLOSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How the code came to its end: `raised` is its traceback, empty if there is none."""

    status: Status
    raised: str = ""


class Printed:
    """What the code prints: its end is kept, its size is limited."""

    def __init__(self, most_bytes: int) -> None:
        self.tail = ""
        self._left = most_bytes
        self._most = most_bytes

    def add(self, text: str) -> None:
        """Take the next text. Raises LimitExceededError: it printed too much."""
        self._left -= len(text.encode(errors="replace"))
        self.tail = (self.tail + text)[-_KEPT_CHARACTERS:]
        if self._left < 0:
            raise LimitExceededError(f"it printed more than {self._most} bytes")


Execute = Callable[[HostFunctions, Printed], Awaitable[Ending]]
"""Runs the code until it ends. A cancellation, or an error that it lets pass, leaves no process behind."""


async def framed(rung: RungName, job: Job, door: Door, sink: Sink, execute: Execute) -> RunVerdict:
    """Run `execute` within the job's limits, and give the sink all that was emitted.

    Raises:
        Errors of the sink and of `execute`, other than the end of the time or another limit.
    """
    functions, printed = HostFunctions(door, sink, job.limits), Printed(job.limits.printed_bytes)
    started = time.monotonic()
    try:
        ending = await _limited(job, functions, printed, execute)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await functions.aclose()
    if ending.status == "unsupported" and functions.emitted_bytes:
        ending = replace(ending, status="failed")
    return RunVerdict(
        status=ending.status,
        detail=detail(ending.raised, printed.tail),
        rung=rung,
        seconds=time.monotonic() - started,
        emitted_bytes=functions.emitted_bytes,
    )


async def _limited(job: Job, functions: HostFunctions, printed: Printed, execute: Execute) -> Ending:
    try:
        async with asyncio.timeout(job.limits.seconds) as clock:
            ending = await execute(functions, printed)
            await functions.flush()
            return ending
    except TimeoutError:
        if not clock.expired():  # the sink raised it
            raise
        return Ending("limit", f"Limit exceeded: it took more than {job.limits.seconds:g} s")
    except LimitExceededError as error:
        return Ending("limit", f"Limit exceeded: {error}")
