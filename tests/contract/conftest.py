"""These tests count what the one bridge of theirs did, so no other may answer at their nats-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from broker_plane.config import Settings
from broker_plane.runtime.session_hosting import session_tools
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.server import NatsServer
from tests.contract.sessions import Stage
from tests.servers import running_server


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def stage(wiring: Wiring, settings: Settings) -> AsyncIterator[Stage]:
    """Hosts of sessions, which are closed after the test."""
    made = Stage(wiring, settings.owner, session_tools(wiring, settings, "http://127.0.0.1:1"))
    async with made.stack:
        yield made
