"""The SDK's everything-server, which has what the scenarios of the suite call, out of mcp's source distribution."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from broker_plane.testing.server import wait_for
from tests.agents.environment import source_of
from tests.ports import free_port
from tests.proxy.conftest import listens

PACKAGE = "mcp_everything_server"
START_SECONDS = 30


def everything_source() -> Path:
    """The directory of its package, of the version of mcp that is installed here."""
    return source_of(f"mcp=={version('mcp')}") / "examples/servers/everything-server"


def everything_module() -> Path:
    """Its module: the server is the name `mcp` in there."""
    return everything_source() / PACKAGE / "server.py"


def importing(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with its package on the path."""
    paths = f"{everything_source()}:{environment.get('PYTHONPATH', '')}"
    return {**environment, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}


@contextmanager
def everything_over_http(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Its URL, for the time of the block."""
    port = free_port()
    command = [sys.executable, "-m", PACKAGE, "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=importing(environment), stdout=file, stderr=file)
    try:
        url = f"http://localhost:{port}/mcp"
        wait_for(lambda: listens(url), "the everything-server to listen", START_SECONDS)
        yield url
    finally:
        process.terminate()
        process.wait(20)
