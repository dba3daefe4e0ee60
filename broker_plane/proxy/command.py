"""A server that is a command: its process, and the lines to and from it."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from broker_plane.embedded.processes import die_with
from broker_plane.errors import UpstreamError
from broker_plane.proxy.upstream import Open

STOP_SECONDS = 5.0
GRACE_SECONDS = 3.0
_POLL_SECONDS = 0.05
READ_BYTES = 1 << 20

Write = Callable[[bytes], Awaitable[None]]


class UpstreamProcess:
    """A running process."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101  # both are pipes
        self._stdin, self._stdout = process.stdin, process.stdout
        self._lock = asyncio.Lock()
        self.code = 0
        """The exit code, once it has ended."""

    async def write(self, line: bytes) -> None:
        """Write a line to it; ignored after its end."""
        async with self._lock:
            self._stdin.write(line)
            with suppress(ConnectionError):
                await self._stdin.drain()

    def close_input(self) -> None:
        self._stdin.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its output, until it ends."""
        while piece := await self._stdout.read(READ_BYTES):
            yield piece


def opener(command: Sequence[str]) -> Open:
    """Opens a process of `command`."""
    return partial(started, command)


@asynccontextmanager
async def started(command: Sequence[str]) -> AsyncIterator[UpstreamProcess]:
    """Run `command` for the time of the block.

    Raises:
        UpstreamError: it cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=READ_BYTES, preexec_fn=partial(_apart, os.getpid())
        )
    except OSError as error:
        raise UpstreamError(f"{command[0]} cannot be started: {error.strerror or error}") from error
    except ValueError as error:
        raise UpstreamError(f"{command[0]!r} cannot be started: {error}") from error
    upstream = UpstreamProcess(process)
    try:
        yield upstream
    finally:
        upstream.close_input()
        upstream.code = await _ended(process)


def _apart(parent: int) -> None:
    """In the child: create a process group, which can be ended as a whole, and end with this process."""
    os.setpgid(0, 0)
    die_with(parent)


async def _ended(process: Process) -> int:
    """The exit code; a process that does not end by itself gets signals, as do all in its group."""
    try:
        for stop in (None, signal.SIGTERM):
            if stop is not None:
                _signal(process.pid, stop)
            with suppress(TimeoutError):
                await asyncio.wait_for(_group_ended(process), GRACE_SECONDS)
                break
    finally:
        # Also if a second signal cuts the grace period short.
        _signal(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        return await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    return process.returncode or 0


async def _group_ended(process: Process) -> None:
    """Wait for the process, and for those it left behind in its group."""
    await process.wait()
    while _signal(process.pid, 0):  # noqa: ASYNC110  # the kernel does not notify
        await asyncio.sleep(_POLL_SECONDS)


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; returns whether it exists."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
