"""Processes of a test: Python modules that print JSON lines, and that a test may kill at any moment."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import IO, Any, cast

import anyio
import anyio.to_thread

_ROOT = Path(__file__).parents[2]
_POLL_SECONDS = 0.005


class Actor:
    """`python -m module arguments…` with pipes for input and output; its standard error is shown."""

    def __init__(self, module: str, *arguments: object, **environment: object) -> None:
        self._said = b""
        self._process = subprocess.Popen(  # noqa: S603  # this interpreter and a module of ours
            [sys.executable, "-m", module, *map(str, arguments)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)} | {name: str(value) for name, value in environment.items()},
        )

        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def said(self, seconds: float = 30) -> Any:
        """The next line of the process, parsed, without blocking the event loop.

        Raises:
            TimeoutError: it said nothing for `seconds`.
            EOFError: it has ended.
        """
        return json.loads(await anyio.to_thread.run_sync(self._line, seconds))

    def tell(self, line: str = "") -> None:
        """Write a line to the process."""
        self._stdin.write(line.encode() + b"\n")

    def kill(self) -> None:
        """Kill the process (kill -9), and wait for its end."""
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        """Wait for the end of the process, and close its pipes."""
        self.kill()
        self._stdin.close()
        self._stdout.close()

    def _line(self, seconds: float) -> bytes:
        deadline = monotonic() + seconds
        while b"\n" not in self._said:
            if not select.select([self._stdout], [], [], max(0.0, deadline - monotonic()))[0]:
                raise TimeoutError(f"The process printed nothing for {seconds} s")
            piece = os.read(self._stdout.fileno(), 1 << 16)
            if not piece:
                raise EOFError(f"The process ended with code {self._process.wait(10)}")
            self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        return line


async def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until `condition` returns a true value, and return it. It may return an awaitable.

    Raises:
        TimeoutError: it was not true after `seconds`; names `what`.
    """
    deadline = monotonic() + seconds
    while True:
        found = condition()
        if hasattr(found, "__await__"):
            found = await found
        if found:
            return found
        if monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        await anyio.sleep(_POLL_SECONDS)


def peak_memory(pid: int) -> int:
    """The peak memory of the process in bytes (VmHWM in proc(5))."""
    return memory(pid)["VmHWM"]


def memory(pid: int | str = "self") -> Mapping[str, int]:
    """The sizes in /proc/<pid>/status, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {
        name: int(size.split()[0]) << 10 for name, _, size in (line.partition(":") for line in lines) if "kB" in size
    }
