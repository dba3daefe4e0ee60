"""A program that reads its input and writes an answer: its pipes, and its end, on every event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

PIECE_BYTES: Final = 1 << 16
"""Largest piece that is read from a pipe at once."""

_POLL_SECONDS: Final = 0.02
_QUIET_POLLS: Final = 3
"""After the end of a process: on a busy machine a poll may end in the moment in which its last bytes arrive."""

_END_SECONDS: Final = 2.0


async def feed(process: Process, content: bytes) -> None:
    """Write `content` to its standard input, and close that. A program may end, or close it, before it has read all."""
    assert process.stdin is not None  # noqa: S101  # it was started with one
    # uvloop raises RuntimeError for a pipe that the program has closed.
    with suppress(ConnectionError, RuntimeError):
        process.stdin.write(content)
        await process.stdin.drain()
    with suppress(ConnectionError, RuntimeError):
        process.stdin.close()
        await process.stdin.wait_closed()


async def pieces(process: Process, pipe: asyncio.StreamReader | None) -> AsyncGenerator[bytes, None]:
    """What comes through a pipe until it is closed, or until the process has ended: its children may keep the pipe."""
    assert pipe is not None  # noqa: S101  # the process was started with one
    quiet = 0
    while quiet < _QUIET_POLLS:
        ended_before = process.returncode is not None
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                piece = await pipe.read(PIECE_BYTES)
        except TimeoutError:
            quiet += ended_before
            continue
        if not piece:
            return
        quiet = 0
        yield piece


async def ended(process: Process) -> None:
    """Return once the process itself has ended. `process.wait` would also wait for children that have its pipes."""
    while process.returncode is None:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)


async def end_program(process: Process) -> None:
    """Kill it with its children, and free its pipes: one counts as closed only after what is in it was read."""
    await asyncio.gather(end_group(process), _discard(process.stdout), _discard(process.stderr))


async def end_group(process: Process) -> None:
    """Kill a process that leads a session, and everything that it has started there."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):  # a child that has left the session may still have a pipe
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()


async def _discard(pipe: asyncio.StreamReader | None) -> None:
    with suppress(TimeoutError):  # a child that has left the session may still have it
        async with asyncio.timeout(_END_SECONDS):
            while pipe is not None and await pipe.read(PIECE_BYTES):
                pass
