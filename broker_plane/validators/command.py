"""A command as a validator: it reads the artifact on standard input and accepts it by exiting with 0."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from broker_plane.validators.programs import PIECE_BYTES, end_program, ended, feed, pieces

_MOST_SAID: Final = 500


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
            said, _ = await asyncio.gather(_first(process), feed(process, artifact))
            await ended(process)
            code = process.returncode
    finally:
        await asyncio.shield(end_program(process))
    if not code:
        return ""
    words = " ".join(said.decode(errors="replace").split())[:_MOST_SAID]
    return f"it exited with {code}: {words}" if words else f"it exited with {code}"


async def _first(process: Process) -> bytes:
    """The beginning of what it writes; the rest is read too, so that it can go on."""
    said = b""
    async with aclosing(pieces(process, process.stdout)) as output:
        async for piece in output:
            said = (said + piece)[:PIECE_BYTES]
    return said
