"""kill -9 of the bridge, of nats-server and of the reader of a live stream: nothing lost, nothing twice, in order.

Readers over events and WebSocket are once what anybody would write, and once our own (`plane.transfers.follow`).
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from broker_plane.testing.processes import Actor
from tests.faults.conftest import Home

pytestmark = pytest.mark.anyio
FULL = pytest.mark.full
BUFFER = 16
ROWS = [{"n": number, "text": f"row {number}" * 20} for number in range(250)]
PATIENCE = 120


class Reading:
    """The reader, and what it has taken."""

    def __init__(self, home: Home, log: Path, *arguments: str) -> None:
        self._home = home
        self._arguments = (*arguments, log)
        self._log = log
        self.process = self._started()

    def _started(self) -> Actor:
        way, url, signal, log = self._arguments
        return self._home.run("tests.faults.stream_reader", way, url, signal, log)

    def kill(self) -> None:
        """kill -9, and another one reads on."""
        self.process.kill()
        self.process = self._started()

    def taken(self) -> list[tuple[int, object]]:
        raw = self._log.read_bytes() if self._log.exists() else b""
        return [tuple(json.loads(line)) for line in raw.splitlines(keepends=True) if line.endswith(b"\n")]


@pytest.mark.parametrize(
    "way", ["nats", "our sse", "our ws", *(pytest.param(way, marks=FULL) for way in ("sse", "ws"))]
)
async def test_nothing_is_lost_and_nothing_comes_twice(home: Home, tmp_path: Path, way: str) -> None:
    kills = {50: ("reader",), 100: ("bridge",), 150: ("nats",), 200: ("reader", "bridge", "nats")}
    async with asyncio.timeout(PATIENCE), home.connect() as plane:
        async with plane.streams.publish(buffer_size=BUFFER, ttl=600) as stream:
            reading = Reading(home, tmp_path / "taken", way, stream.resource_url, stream.live.end_signal)
            for row in ROWS:
                number = await stream.send(row)
                assert len(reading.taken()) >= number - BUFFER, "the publisher did not wait"
                victims = kills.pop(number, ())
                if "reader" in victims:
                    reading.kill()
                home.kill(*(victim for victim in victims if victim != "reader"))
        said = await reading.process.said(PATIENCE)
    assert not kills
    assert said["end"] == len(ROWS)
    assert reading.taken() == list(enumerate(ROWS, 1))
