"""Each server alone and behind the proxy, as a real client sees it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from broker_plane.testing.server import NatsServer
from tests.proxy.conftest import PROXY, ROOT
from tests.real_servers.programs import Programs

Open = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("work").resolve())


@pytest.fixture(scope="session")
def environment(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
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
