"""The sample server as a command, at a URL and in this process."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from mcp import Client

from broker_plane.config import Settings
from broker_plane.proxy.messages import Message
from broker_plane.testing.server import NatsServer, wait_for
from broker_plane.transports.describing import describe
from broker_plane.transports.hosting import server_host
from broker_plane.transports.nats import nats_client
from broker_plane.transports.nats.front import nats_front
from broker_plane.transports.opening import in_process
from tests import forked
from tests.forked import MCP, Forked
from tests.ports import free_port
from tests.proxy.conftest import listens, running
from tests.servers import running_server
from tests.transports import sample_server

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = forked.command("tests.transports.sample_server")
SAMPLE_FILE = str(Path(__file__).with_name("sample_server.py"))
ERAS = ("2026-07-28", "legacy")


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One for these tests alone: they count what its services are."""
    with running_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def environment(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    forked.fork_server(forked.MCP)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    ours = {"BROKER_PLANE_NATS_URL": nats_server.url, "BROKER_PLANE_DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    return kept | ours | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def sample_url(environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    with running([*SAMPLE, str(port)], environment):
        url = f"http://127.0.0.1:{port}/mcp"
        wait_for(lambda: listens(url), "the sample server to listen", 30)
        yield url


ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call_of(key: Any, tool: str, meta: Message | None = None, **arguments: Any) -> Message:
    """A request of 2026-07-28 that calls a tool."""
    params = {"name": tool, "arguments": arguments, "_meta": ENVELOPE | (meta or {})}
    return {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params}


@pytest.fixture
def name() -> str:
    """The name of a server that no other test uses."""
    return f"sample-{uuid4().hex[:12]}"


@asynccontextmanager
async def fronted(name: str, settings: Settings, drain_seconds: float = 0.1) -> AsyncIterator[str]:
    """An instance of the sample server in this process; yields its word."""
    async with server_host(in_process(sample_server.mcp), settings=settings) as host:
        facts = await describe(host)
        async with nats_front(host, facts, name, settings, drain_seconds=drain_seconds) as word:
            yield word


@pytest.fixture
async def served(name: str, settings: Settings) -> AsyncIterator[str]:
    """The name of a server with one instance, in this process."""
    async with fronted(name, settings):
        yield name


Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def connect(settings: Settings) -> Connect:
    """`async with connect(name, era) as client`: a client over NATS. Options are those of `nats_client`."""

    @asynccontextmanager
    async def connected(name: str, era: str = "2026-07-28", **options: Any) -> AsyncIterator[Client]:
        async with Client(nats_client(name, settings=settings, **options), mode=era) as client:
            yield client

    return connected


class Instance:
    """A process that serves."""

    def __init__(self, process: Forked) -> None:
        self.pid = process.pid
        self.wait = process.wait

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


@contextmanager
def instance(name: str, environment: dict[str, str], *options: str) -> Iterator[Instance]:
    """A process of `broker-plane serve`, once it serves; killed at the end if it still runs."""
    words = ["serve", "--nats", name, "--json", *options, SAMPLE_FILE]
    heard, out = os.pipe()
    process = Forked("broker_plane.cli.main", words, environment, ROOT, (0, out, 2), MCP)
    os.close(out)
    with open(heard, "rb") as output:  # noqa: PTH123  # a descriptor
        try:
            assert json.loads(output.readline())["places"] == [f"nats:{name}"]
            yield Instance(process)
        finally:
            process.kill()
            process.wait(60)


async def until(path: Path) -> str:
    """Wait until another process has written the file, and return its text."""
    with anyio.fail_after(60):
        while not path.exists() or not (text := path.read_text()):  # noqa: ASYNC110, ASYNC240  # of another process
            await anyio.sleep(0.01)
    return text
