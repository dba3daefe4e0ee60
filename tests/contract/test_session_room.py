"""The stream of sessions finds room in stores of any size, beside bodies and feeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.embedded.broker import stop
from broker_plane.storage.layout import ensure_feeds, ensure_sessions
from broker_plane.testing.server import NatsServer

pytestmark = pytest.mark.anyio


async def room(plane: Plane) -> int:
    """The bytes that the stream of sessions gets."""
    connection = plane.wiring.connection
    await ensure_feeds(connection)
    await ensure_sessions(connection)
    most: int = (await connection.api("STREAM.INFO.BP_SESSIONS"))["config"]["max_bytes"]
    return most


@pytest.mark.parametrize(("megabytes", "least"), [(600, 32), (8_192, 256)])
async def test_a_store_whose_size_nobody_knows_has_room(megabytes: int, least: int, tmp_path: Path) -> None:
    server = NatsServer(tmp_path, store_bytes=megabytes << 20)
    server.start()
    try:
        async with Plane.connect(load_settings(nats_url=server.url, data_dir=tmp_path)) as plane:
            assert await room(plane) >= least << 20
    finally:
        server.stop()


async def test_a_small_embedded_store_has_an_eighth(tmp_path: Path) -> None:
    async with Plane.connect(load_settings(data_dir=tmp_path, max_store_bytes=48 << 20)) as plane:
        assert await room(plane) == 6 << 20
    stop(tmp_path)
