"""Each server alone and behind the proxy, as a real client sees it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from broker_plane.testing.server import NatsServer
from tests import forked
from tests.proxy.conftest import PROXY, ROOT
from tests.real_servers.programs import Programs

Open = Callable[..., AbstractAsyncContextManager[Client]]
Behind = Callable[[str], Awaitable[Client]]
OPTIONS = ("--threshold", "500", "--consumer", "write_file:content")
"""Of the proxy that tests share. The threshold is in tokens; `write_file` is a tool of the file server."""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("work").resolve())


@pytest.fixture(scope="session")
def environment(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    forked.fork_server(forked.MCP)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    ours = {"BROKER_PLANE_NATS_URL": nats_server.url, "BROKER_PLANE_DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    return kept | ours | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def alone(programs: Programs) -> Open:
    """`async with alone(command) as client`: a client of the server itself."""

    @asynccontextmanager
    async def open_it(command: Sequence[str]) -> AsyncIterator[Client]:
        where = Path(programs.work)
        async with Client(StdioServerParameters(command=command[0], args=list(command[1:]), cwd=where)) as client:
            yield client

    return open_it


@pytest.fixture(scope="session")
def proxied(environment: dict[str, str]) -> Open:
    """`async with proxied(command, *options) as client`: a client of the server behind the proxy; `env` adds to its
    environment.
    """

    @asynccontextmanager
    async def open_it(command: Sequence[str], *options: str, env: Mapping[str, str] = {}) -> AsyncIterator[Client]:
        arguments = [*PROXY[1:], *options, "--", *command]
        server = StdioServerParameters(command=PROXY[0], args=arguments, env={**environment, **env}, cwd=ROOT)
        async with Client(server) as client:
            yield client

    return open_it


@pytest.fixture(scope="module")
async def behind(programs: Programs, proxied: Open) -> AsyncIterator[Behind]:
    """`await behind("git")`: a client of that server behind a proxy, the same one for all tests of a module."""
    clients: dict[str, Client] = {}
    async with AsyncExitStack() as stack:

        async def client_of(name: str) -> Client:
            if name not in clients:
                clients[name] = await stack.enter_async_context(proxied(getattr(programs, name), *OPTIONS))
            return clients[name]

        yield client_of
