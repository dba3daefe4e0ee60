"""A front in this process, and one in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from broker_plane.config import Settings, load_settings
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.run import connected_rules
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.processes import Actor
from broker_plane.testing.server import NatsServer
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.opening import in_process
from broker_plane.transports.webhook.front_process import FrontOptions
from broker_plane.transports.webhook.sending_rules import SendingRules
from broker_plane.transports.webhook.serving import webhook_front
from tests.forked import ForkedMcpActor
from tests.ports import free_port
from tests.servers import running_server
from tests.webhook_transport.sample import mcp

QUICK = FrontOptions(rules=SendingRules(first_seconds=0.1, longest_seconds=1.0))
Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def settings(nats_server: NatsServer, tmp_path: Path) -> Settings:
    return load_settings(nats_url=nats_server.url, data_dir=tmp_path, webhook_networks="127.0.0.0/8")


@pytest.fixture
def serve(wiring: Wiring, settings: Settings) -> Serve:
    """`async with serve() as url`: a front in this process. Fronts of one `server` share its sessions."""

    @asynccontextmanager
    async def serving(server: str = "", server_object: Any = mcp, **changed: Any) -> AsyncIterator[str]:
        given = load_settings(
            nats_url=settings.nats_url,
            data_dir=settings.data_dir,
            **({"webhook_networks": settings.webhook_networks} | changed),
        )
        async with connected_rules(ProxyOptions(), given) as rules:
            host = ServerHost(in_process(server_object), rules)
            name = server or uuid4().hex
            async with webhook_front(wiring.connection, host, name, given, options=QUICK) as url:
                yield url
            await host.close()

    return serving


@pytest.fixture
async def front(serve: Serve) -> AsyncIterator[str]:
    async with serve() as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30.0, trust_env=False) as client:
        yield client


class FrontActor:
    """A front in a process of its own, which may be killed and started again at the same URL."""

    def __init__(self, server: str, environment: dict[str, object]) -> None:
        self._server = server
        self._environment = environment
        self.port = free_port()
        self.actor: Actor | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def start(self) -> None:
        program = "tests.webhook_transport.front_program"
        self.actor = ForkedMcpActor(program, self._server, self.port, **self._environment)
        assert (await self.actor.said())["url"] == self.url

    def kill(self) -> None:
        if self.actor is not None:
            self.actor.close()
            self.actor = None


@pytest.fixture
def fronts(nats_server: NatsServer, tmp_path: Path) -> Iterator[Callable[..., FrontActor]]:
    """`fronts()`: a front of one server for each call; all have the same sessions."""
    made: list[FrontActor] = []
    server = uuid4().hex

    def make(nats_url: str = "") -> FrontActor:
        environment: dict[str, object] = {
            "BROKER_PLANE_NATS_URL": nats_url or nats_server.url,
            "BROKER_PLANE_DATA_DIR": tmp_path,
            "BROKER_PLANE_WEBHOOK_NETWORKS": "127.0.0.0/8",
        }
        made.append(FrontActor(server, environment))
        return made[-1]

    yield make
    for each in made:
        each.kill()
