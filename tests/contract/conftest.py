"""These tests count what the one bridge of theirs did, so no other may answer at their nats-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.testing.server import NatsServer
from tests.servers import running_server


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.fixture
def feed() -> str:
    return f"crm.{uuid4().hex}"
