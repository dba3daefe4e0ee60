"""The command line over a real nats-server and a bridge in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from broker_plane.config import Settings, load_settings
from broker_plane.testing.server import NatsServer
from tests.files.command_line import CommandLine
from tests.forked import ForkedActor
from tests.servers import running_server


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def bridge_url(nats_server: NatsServer) -> Iterator[str]:
    actor = ForkedActor("broker_plane.cli.bridge", BROKER_PLANE_NATS_URL=nats_server.url)
    yield anyio.run(actor.said)["bridge"]
    actor.close()


@pytest.fixture
def settings(nats_server: NatsServer, bridge_url: str, tmp_path: Path) -> Settings:
    return load_settings(nats_url=nats_server.url, bridge_url=bridge_url, data_dir=tmp_path / "data")


@pytest.fixture
def shell(nats_server: NatsServer, bridge_url: str, tmp_path: Path) -> CommandLine:
    return CommandLine(nats_server.url, bridge_url, tmp_path / "data")
