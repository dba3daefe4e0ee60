"""Servers in separate processes, over HTTP, that a demo kills (kill -9) and restarts on the same port."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import time

from .stage import DemoError, module

_START_SECONDS = 60.0
_LOOK_SECONDS = 0.02


class ServerProcess:
    """`python -m servers NAME --http PORT`.

    `lives` are (first answer, end, killed), in unix seconds; the end is 0 for the one that runs.
    """

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.port = _free_port()
        self.lives: list[tuple[float, float, bool]] = []
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def pid(self) -> int:
        """The pid of the running process; 0 if none runs."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start a process and wait until it answers.

        Raises:
            DemoError: it does not answer; the message has its output.
        """
        spelled, path = module("servers")
        command = ["-m", spelled, self.name, "--http", str(self.port)]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *command, env={**self._environment, "PYTHONPATH": path}, stdout=log, stderr=log
            )
        async with asyncio.timeout(_START_SECONDS):
            while not await self._answers():
                if self._process.returncode is not None:
                    raise DemoError(f"{self.name} did not start: {self._log.read_text(errors='replace')[-500:]}")
                await asyncio.sleep(_LOOK_SECONDS)
        self.lives.append((time(), 0.0, False))

    async def kill(self) -> None:
        """Kill it with kill -9 and wait for its end."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it as Ctrl-C does; kill it if it does not end."""
        if self._process is None:
            return
        try:
            async with asyncio.timeout(5):
                await self._end(signal.SIGTERM)
        except TimeoutError:
            await self._end(signal.SIGKILL)

    async def _end(self, by: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(by)
        await process.wait()
        self._process = None
        if self.lives:
            self.lives[-1] = (self.lives[-1][0], time(), by == signal.SIGKILL)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
