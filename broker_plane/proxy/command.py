"""A server that is a command: its process, and the lines to and from it."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from broker_plane.errors import UpstreamError

STOP_SECONDS = 5.0
READ_BYTES = 1 << 20

Write = Callable[[bytes], Awaitable[None]]


class Upstream:
    """A process that runs."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101  # both are pipes
        self._stdin, self._stdout = process.stdin, process.stdout
        self._lock = asyncio.Lock()
        self.code = 0
        """Its exit code, once it has ended."""

    async def write(self, line: bytes) -> None:
        """Give it a line; one that has ended gets none."""
        async with self._lock:
            self._stdin.write(line)
            with suppress(ConnectionError):
                await self._stdin.drain()

    def say_no_more(self) -> None:
        self._stdin.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """What it writes, until it ends."""
        while piece := await self._stdout.read(READ_BYTES):
            yield piece


@asynccontextmanager
async def running(command: Sequence[str]) -> AsyncIterator[Upstream]:
    """Run `command` for the time of the block.

    Raises:
        UpstreamError: it cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=READ_BYTES)
    except OSError as error:
        raise UpstreamError(f"{command[0]} cannot be started: {error.strerror or error}") from error
    upstream = Upstream(process)
    try:
        yield upstream
    finally:
        upstream.say_no_more()
        upstream.code = await _ended(process)


async def _ended(process: Process) -> int:
    """The exit code; whoever does not end by itself is told to."""
    for stop in (None, process.terminate, process.kill):
        if stop is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                stop()
        with suppress(TimeoutError):
            return await asyncio.wait_for(process.wait(), STOP_SECONDS)
    return process.returncode or 0
