"""How a driver is spoken to: one JSON request a line on its stdin, one JSON reply a line on its stdout. Both ends.

Standard library only, like `rows`. `{"do": NAME, ...}` calls the driver's method of that name with the rest as
keywords; its reply goes back, or `{"error": ...}`, after which the driver goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ANSWER_SECONDS = 300
END_SECONDS = 30

Request = dict[str, Any]
Reply = dict[str, Any]


async def _reply(driver: object, line: str) -> Reply:
    request = json.loads(line)
    try:
        reply: Reply = await getattr(driver, request.pop("do"))(**request)
    except Exception as error:  # noqa: BLE001  # whatever went wrong, the conductor waits for a line and reports it
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    return reply


async def serve(driver: object) -> None:
    """Answer with `driver`'s methods until stdin ends. What libraries print goes to stderr: replies stay JSON."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with replies:
        while line := await asyncio.to_thread(sys.stdin.readline):
            replies.write(json.dumps(await _reply(driver, line)) + "\n")


class Driver:
    """The conductor's end of a driver process."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    async def ask(self, request: Request) -> Reply:
        """The reply to one request.

        Raises:
            RuntimeError: the driver reported an error, or ended; the end of its log is in the message.
            TimeoutError: no reply in five minutes.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        line = await asyncio.wait_for(self.process.stdout.readline(), ANSWER_SECONDS)
        reply: Reply = json.loads(line) if line else {"error": "the driver ended"}
        if "error" in reply:
            raise RuntimeError(f"{self.name}, asked {request}: {reply['error']}\n{self.log.read_text()[-2_000:]}")
        return reply


async def _end(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), END_SECONDS)
    if process.returncode is None:
        process.kill()
        await process.wait()


@asynccontextmanager
async def driving(name: str, python: Path, directory: Path, **environment: str) -> AsyncIterator[Driver]:
    """A driver of this folder that runs and logs to `directory`; at the end its stdin closes and it is waited for."""
    log = directory / f"{name}.log"
    command = (str(python), "-m", f"tests.bench.{name}")
    with log.open("wb") as stderr:
        process = await create_subprocess_exec(
            *command, cwd=ROOT, env={**os.environ, **environment}, stdin=PIPE, stdout=PIPE, stderr=stderr
        )
        try:
            yield Driver(name, process, log)
        finally:
            await _end(process)
