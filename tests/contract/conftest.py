"""These tests count what the one bridge of theirs did, so no other may answer at their nats-server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker_plane.testing.server import NatsServer
from tests.servers import running_server


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_server(tmp_path_factory.mktemp("nats")) as server:
        yield server
