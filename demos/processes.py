"""Servers as processes of their own, over HTTP, that a story kills and starts again: kill -9, and on the same port."""

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

    `lives` are (from its first answer, to, killed), in unix seconds; `to` is 0 for the one that runs.
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
        """Of the process that runs; 0 where none does."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """A new process, which answers.

        Raises:
            DemoError: it does not; its own words.
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
        """kill -9: it has ended, in the middle of whatever it did."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """It has ended as at Ctrl-C, or was ended."""
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
