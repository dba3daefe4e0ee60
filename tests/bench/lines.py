"""How a driver is spoken to: one JSON request a line on its stdin, one JSON reply a line on its stdout. Both ends.

Standard library only, like `rows`. `{"do": NAME, ...}` calls the driver's method of that name with the rest as
keywords; its reply goes back, or `{"error": ...}`, after which the driver goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ANSWER_SECONDS = 300
END_SECONDS = 30
DRIVER_ENDED = "the driver ended"

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
        reply: Reply = json.loads(line) if line else {"error": DRIVER_ENDED}
        if "error" in reply:
            raise RuntimeError(f"{self.name}, asked {request}: {reply['error']}\n{self.log.read_text()[-2_000:]}")
        return reply


async def _end(process: Process) -> None:
    """Its stdin closes, and it ends when it has answered; it is told to when that takes long, and then made to."""
    assert process.stdin is not None
    process.stdin.close()
    for told in (signal.SIGINT, signal.SIGKILL):
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_SECONDS)
            return
        _tell(process, told)
    await process.wait()


def _tell(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)


@asynccontextmanager
async def driving(
    name: str, python: Path, directory: Path, environment: Mapping[str, str], root: Path = ROOT
) -> AsyncIterator[Driver]:
    """A driver of `root`'s bench that logs to `directory`; at the end its stdin closes and it is waited for.

    It has a session of its own: Ctrl-C reaches it through this process, which then waits until it has tidied up.
    """
    log = directory / f"{name}.log"
    command = (str(python), "-m", f"tests.bench.{name}")
    with log.open("wb") as stderr:
        process = await create_subprocess_exec(
            *command, cwd=root, env=environment, stdin=PIPE, stdout=PIPE, stderr=stderr, start_new_session=True
        )
        try:
            yield Driver(name, process, log)
        except BaseException:
            _tell(process, signal.SIGINT)  # it gives up what it was asked, and ends its broker and servers
            raise
        finally:
            await _end(process)
