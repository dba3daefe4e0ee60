"""Processes of our modules, forked from one that has imported them: a start costs a tenth of one of an interpreter.

They are processes of their own like any other: a test may kill them, and they have their own environment, files and
memory. What a start itself does is shown by tests that use `sys.executable`.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, cast

from broker_plane.testing.processes import Actor

ROOT = Path(__file__).parents[1]
PLANE = ("broker_plane.cli.bridge", "broker_plane.runtime.plane", "broker_plane.cli.bodies")
"""For bridges, publishers and consumers."""
MCP = (*PLANE, "mcp.client", "mcp.server.mcpserver", "broker_plane.mcp_server.server", "broker_plane.cli.mcp_clients")
"""For servers and clients of MCP."""
_END_SECONDS = 10


_directory = Path(tempfile.gettempdir()) / f"broker-plane-forks-{os.getpid()}"


def _path(preloaded: Sequence[str]) -> Path:
    return _directory / ("plane" if preloaded is PLANE else "mcp")


@cache
def fork_server(preloaded: Sequence[str] = PLANE) -> str:
    """The socket of a fork server (fork_server.py), which ends with this process."""
    path = _path(preloaded)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    _servers.append(
        subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", path, *preloaded],
            cwd=ROOT,
            env=ours | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    )
    assert _servers[-1].stdout is not None and _servers[-1].stdout.readline()  # it listens
    return str(path)


_servers: list[subprocess.Popen[bytes]] = []


def end_fork_servers() -> None:
    """End them, and what they have forked."""
    while _servers:
        with _servers.pop() as server:
            server.communicate(timeout=_END_SECONDS)
    shutil.rmtree(_directory, ignore_errors=True)
    fork_server.cache_clear()


def command(module: str, *arguments: str) -> list[str]:
    """A command that does what `python -m module arguments…` does, sooner once `fork_server(MCP)` runs."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), str(_path(MCP)), module, *arguments]


class Forked:
    """A process that runs `module`; it has the descriptors `standard` as input, output and error."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[object],
        env: Mapping[str, str],
        cwd: Path,
        standard: Sequence[int],
        preloaded: Sequence[str] = PLANE,
    ) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(fork_server(preloaded))
        told = {"module": module, "arguments": [*map(str, arguments)], "env": {**env}, "cwd": str(cwd)}
        socket.send_fds(self._connection, [json.dumps(told).encode()], standard)
        self.pid = int(self._connection.recv(16))
        self._waiting = threading.Lock()
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; negative, the signal that ended it. Raises subprocess.TimeoutExpired."""
        with self._waiting:
            if self._code is None:
                if not select.select([self._connection], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
                self._code = int(self._connection.recv(16))
                self._connection.close()
            return self._code

    def kill(self) -> None:
        with self._waiting:
            if self._code is None and not select.select([self._connection], [], [], 0)[0]:
                os.kill(self.pid, signal.SIGKILL)


class ForkedActor(Actor):
    """An actor that is forked."""

    preloaded: Sequence[str] = PLANE

    def __init__(self, module: str, *arguments: object, **environment: object) -> None:
        self._said = b""
        given, mine = os.pipe()
        heard, out = os.pipe()
        env = {**os.environ, "PYTHONPATH": str(ROOT)} | {name: str(value) for name, value in environment.items()}
        self._process = cast(
            "subprocess.Popen[bytes]", Forked(module, arguments, env, ROOT, (given, out, 2), self.preloaded)
        )
        os.close(given)
        os.close(out)
        self._stdin = cast("IO[bytes]", os.fdopen(mine, "wb", 0))
        self._stdout = cast("IO[bytes]", os.fdopen(heard, "rb", 0))


class ForkedMcpActor(ForkedActor):
    """A forked actor that speaks MCP."""

    preloaded = MCP


def run(
    module: str,
    *arguments: object,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    text: str = "",
    seconds: float = 60,
    preloaded: Sequence[str] = PLANE,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of `python -m module arguments…` with `text` as its input."""
    files = [tempfile.TemporaryFile("w+") for _ in range(3)]  # noqa: SIM115  # closed below
    try:
        files[0].write(text)
        files[0].seek(0)
        process = Forked(module, arguments, env, cwd, [file.fileno() for file in files], preloaded)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
            process.wait(_END_SECONDS)
        for file in files:
            file.seek(0)
        return subprocess.CompletedProcess([module, *map(str, arguments)], code, files[1].read(), files[2].read())
    finally:
        for file in files:
            file.close()
