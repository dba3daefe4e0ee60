"""A command as a validator: it reads the artifact on standard input and accepts it by exiting with 0."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from broker_plane.validators.worker import end_group

_MOST_SAID: Final = 500
_MOST_READ: Final = 1 << 16
_POLL_SECONDS: Final = 0.02


async def command_refusal(command: Sequence[str], artifact: bytes, seconds: float) -> str:
    """Run a command; returns what it printed if it exits with anything but 0. It is killed with all that it started.

    Raises:
        TimeoutError: it took longer than `seconds`. OSError: it could not be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, start_new_session=True
    )
    try:
        async with asyncio.timeout(seconds):
            said, _ = await asyncio.gather(_read(process), _write(process, artifact))
            code = process.returncode
    finally:
        await end_group(process)
    if not code:
        return ""
    words = " ".join(said.decode(errors="replace").split())[:_MOST_SAID]
    return f"it exited with {code}: {words}" if words else f"it exited with {code}"


async def _write(process: Process, artifact: bytes) -> None:
    assert process.stdin is not None  # noqa: S101  # it was started with one
    with suppress(ConnectionError):  # it has seen enough
        process.stdin.write(artifact)
        await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()


async def _read(process: Process) -> bytes:
    """The first output, once the process has ended. `process.wait` would also wait for children that have its pipe."""
    assert process.stdout is not None  # noqa: S101  # it was started with one
    said = b""
    while True:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                piece = await process.stdout.read(_MOST_READ)
        except TimeoutError:
            piece = b""
        said = (said + piece)[:_MOST_READ]
        if not piece:
            if process.returncode is not None:
                return said
            await asyncio.sleep(_POLL_SECONDS)
