"""The command line over a real nats-server and a bridge in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from broker_plane.config import Settings, load_settings
from broker_plane.testing.processes import Actor
from broker_plane.testing.server import NatsServer
from tests.files.command_line import CommandLine


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One of these tests' own: at the one of all tests their bridge would answer the pulls of others, too."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def bridge_url(nats_server: NatsServer) -> Iterator[str]:
    actor = Actor("broker_plane.cli.bridge", BROKER_PLANE_NATS_URL=nats_server.url)
    yield anyio.run(actor.said)["bridge"]
    actor.close()


@pytest.fixture
def settings(nats_server: NatsServer, bridge_url: str, tmp_path: Path) -> Settings:
    return load_settings(nats_url=nats_server.url, bridge_url=bridge_url, data_dir=tmp_path / "data")


@pytest.fixture
def shell(nats_server: NatsServer, bridge_url: str, tmp_path: Path) -> CommandLine:
    return CommandLine(nats_server.url, bridge_url, tmp_path / "data")
