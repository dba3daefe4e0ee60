"""The upstream, alone and behind the proxy, over each pair of transports and in both eras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import anyio
import pytest
from mcp import Client, StdioServerParameters

from broker_plane.testing.server import NatsServer, wait_for
from tests import forked
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
STARTED_UPSTREAM = [sys.executable, "-m", "tests.proxy.upstream"]
STARTED_PROXY = [sys.executable, "-m", "broker_plane.cli.main", "proxy"]
"""As people start them, for tests of their beginning and end."""
UPSTREAM, PROXY = forked.command("tests.proxy.upstream"), forked.command("broker_plane.cli.main", "proxy")
WAYS = ("command", "url", "http")
ERAS = ("auto", "legacy")
QUICK = {("command", "auto"), ("url", "legacy"), ("http", "auto")}
EACH = [
    pytest.param((way, era), marks=[] if (way, era) in QUICK else [pytest.mark.full], id=f"{way}-{era}")
    for way in WAYS
    for era in ERAS
]
OPTIONS = ["--consumer", "draw:data"]

Open = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def environment(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    forked.fork_server(forked.MCP)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    ours = {"BROKER_PLANE_NATS_URL": nats_server.url, "BROKER_PLANE_DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    return kept | ours | {"PYTHONPATH": str(ROOT)}


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


async def there(path: Path) -> None:
    """Wait until another process has made the file."""
    while not path.exists():  # noqa: ASYNC110, ASYNC240  # of another process: nothing here could set an event
        await anyio.sleep(0.01)


def listens(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310  # our own, on loopback
            return True
    except HTTPError:
        return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def upstream_url(environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    with running([*UPSTREAM, str(port)], environment):
        url = f"http://127.0.0.1:{port}/mcp"
        wait_for(lambda: listens(url), "the upstream to listen", 30)
        yield url


def http_proxy(upstream_url: str, environment: dict[str, str], *options: str) -> AbstractContextManager[str]:
    return command_proxy([upstream_url], environment, *options)


@contextmanager
def command_proxy(upstream: list[str], environment: dict[str, str], *options: str) -> Iterator[str]:
    """An HTTP endpoint before an upstream, a URL or a command; yields its own URL."""
    command = [*PROXY, "--http", "0", "--json", *options, "--", *upstream]
    with running(command, environment) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]


@pytest.fixture(scope="session")
def proxy_url(upstream_url: str, environment: dict[str, str]) -> Iterator[str]:
    with http_proxy(upstream_url, environment, *OPTIONS) as url:
        yield url


@pytest.fixture(scope="session")
def proxied(upstream_url: str, proxy_url: str, environment: dict[str, str]) -> Open:
    """`async with proxied(way, era) as client`: a client of the upstream behind the proxy."""

    @asynccontextmanager
    async def open_it(way: str, era: str, *options: str, env: dict[str, str] | None = None) -> AsyncIterator[Client]:
        if way == "http":
            server: str | StdioServerParameters = proxy_url
        else:
            rest = [*OPTIONS, *options, "--", *(UPSTREAM if way == "command" else [upstream_url])]
            arguments = [*PROXY[1:], *rest]
            server = StdioServerParameters(command=PROXY[0], args=arguments, env=env or environment, cwd=ROOT)
        async with Client(server, mode=era) as client:
            yield client

    return open_it
