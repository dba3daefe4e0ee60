"""What holds in every protocol alike: the same bytes, the same refusals, progress, and nothing left by who cancels."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.client.trust import Trust
from broker_plane.config import load_settings
from broker_plane.errors import (
    DescriptorExpiredError,
    TooLargeError,
    TransferError,
    WrongChecksumError,
    WrongCompressionError,
    WrongSizeError,
)
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach
from tests.ports import free_port
from tests.transfer.conftest import BODY, DIGEST, LOOPBACK
from tests.transfer.offering import PROTOCOLS, Mqtt, offered
from tests.transfer.servers import WebServer

pytestmark = pytest.mark.anyio
SIZE = len(BODY)
TAMPERED = "sha256:" + hashlib.sha256(BODY[:77] + bytes([BODY[77] ^ 1]) + BODY[78:]).hexdigest()
REFUSED: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"checksum": TAMPERED}, WrongChecksumError),
    ({"expires": datetime(2020, 1, 1, tzinfo=UTC).isoformat()}, DescriptorExpiredError),
    ({"size_hint": SIZE - 1}, WrongSizeError),
    ({"size_hint": SIZE + 1}, WrongSizeError),
    ({"size_hint": 1 << 40}, TooLargeError),
    ({"compression": "gzip"}, WrongCompressionError),
    ({"compression": "zstd"}, WrongCompressionError),
]


@pytest.fixture(scope="module")
def mqtt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mqtt]:
    port, monitoring = free_port(), free_port()
    more = f"http: 127.0.0.1:{monitoring}\nmqtt {{ host: 127.0.0.1, port: {port} }}"
    server = NatsServer(tmp_path_factory.mktemp("mqtt"), more=more)
    server.start()
    yield Mqtt(port, monitoring, server)
    server.stop()


@pytest.fixture(scope="module")
async def plane(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    settings = load_settings(nats_url=nats_server.url, data_dir=tmp_path_factory.mktemp("plane"))
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return _made(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return _made(tmp_path / "target")


@pytest.fixture
def carrying(source: Path, plane: Plane) -> Transfers:
    reach = Reach(trust=Trust(), networks=LOOPBACK, directories=[source])
    return Transfers(reach, max_bytes=64 << 20, nats=plane.pulls.nats)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_same_bytes_with_progress(
    protocol: str, carrying: Transfers, server: WebServer, plane: Plane, mqtt: Mqtt, source: Path, target: Path
) -> None:
    async with offered(protocol, server, plane, mqtt, source) as describe:
        seen: list[tuple[int, int | None]] = []
        done = await carrying.fetch_to(describe(), target / "out", lambda *told: seen.append(told))
        assert "sha256:" + hashlib.sha256(done.path.read_bytes()).hexdigest() == DIGEST
        assert seen == sorted(seen)
        assert seen[-1] == (SIZE, SIZE)
        assert names(target) == ["out"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_is_not_as_described_is_refused_by_name_and_not_written(
    protocol: str, carrying: Transfers, server: WebServer, plane: Plane, mqtt: Mqtt, source: Path, target: Path
) -> None:
    for fields, error in REFUSED:
        # Both are refused before anything is asked, so nobody would come to hear the topic.
        if protocol == "mqtt" and error in (DescriptorExpiredError, TooLargeError):
            continue
        async with offered(protocol, server, plane, mqtt, source) as describe:
            with pytest.raises((TransferError, TooLargeError)) as raised:
                await carrying.fetch_to(describe(**fields), target / "out")
        assert type(raised.value) is error, fields
        assert not names(target)
    small = Transfers(carrying._reach, max_bytes=SIZE - 1, nats=plane.pulls.nats)
    async with offered(protocol, server, plane, mqtt, source) as describe:
        with pytest.raises(TooLargeError):
            await small.fetch_to(describe(size_hint=None), target / "out")
    assert not names(target)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_who_cancels_leaves_no_file_no_task_and_no_thread(
    protocol: str, carrying: Transfers, server: WebServer, plane: Plane, mqtt: Mqtt, source: Path, target: Path
) -> None:
    begun = asyncio.Event()

    async def progress(done: int, total: int | None) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with offered(protocol, server, plane, mqtt, source) as describe:
        tasks = asyncio.all_tasks()
        fetching = asyncio.create_task(carrying.fetch_to(describe(), target / "out", progress))
        await asyncio.wait_for(begun.wait(), 20)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert not names(target)
        await until(lambda: asyncio.all_tasks() <= tasks, "the end of every task", 20)
    await until(lambda: not [thread for thread in threading.enumerate() if "paho" in thread.name], "no thread of MQTT")


async def test_every_way_that_the_plane_offers_gives_the_same_digest(plane: Plane) -> None:
    published = await plane.publish(BODY, uses="unlimited", media_type="application/octet-stream")
    ways = published.offer().descriptors
    assert {way.protocol for way in ways} >= {"http"}
    for way in ways:
        raw = await plane.transfers.fetch(way)
        assert "sha256:" + hashlib.sha256(raw).hexdigest() == DIGEST == way.checksum
