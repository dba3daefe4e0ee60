"""One bridge with a pool of workers for all tests of a module: a pool takes a second to start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.testing.server import NatsServer
from tests.servers import running_server

SECONDS = 2.0
"""The limit of each query here."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_server(tmp_path_factory.mktemp("query")) as running:
        yield running


@pytest.fixture(scope="module")
async def plane(server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    settings = load_settings(
        nats_url=server.url,
        data_dir=tmp_path_factory.mktemp("data"),
        max_query_seconds=SECONDS,
        max_query_memory_bytes="256MiB",
        max_query_result_bytes="4MiB",
        query_workers=2,
    )
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file, and a variable of the environment of the bridge, with a word that no query may show."""
    monkeypatch.setenv("CANARY", "Zugspitze")
    file = tmp_path / "canary.csv"
    file.write_text("word\nZugspitze\n")
    return file
