"""A nats-server and a bridge of their own, which tests of sessions may kill."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

from broker_plane.config import Settings, load_settings
from broker_plane.testing.processes import Actor
from broker_plane.testing.server import NatsServer
from tests import forked
from tests.forked import ForkedActor
from tests.ports import free_port


class Room:
    """A broker with one bridge process, always at the same address."""

    def __init__(self, root: Path) -> None:
        (root / "nats").mkdir()
        self.server = NatsServer(root / "nats")
        self.server.start()
        self._port = free_port()
        self.bridge_url = f"http://127.0.0.1:{self._port}"
        self._data_dir = root / "data"
        self._bridge = self._started()

    @property
    def settings(self) -> Settings:
        return load_settings(nats_url=self.server.url, bridge_url=self.bridge_url, data_dir=self._data_dir)

    @property
    def environment(self) -> dict[str, str]:
        """That of a command which works here."""
        ours = {"NATS_URL": self.server.url, "BRIDGE_URL": self.bridge_url, "DATA_DIR": str(self._data_dir)}
        return os.environ | {f"BROKER_PLANE_{name}": value for name, value in ours.items()}

    async def ready(self) -> None:
        """Wait until the bridge has said that it listens."""
        await self._bridge.said()

    async def restart_bridge(self) -> None:
        """Kill -9 the bridge, and start another one at the same address."""
        self._bridge.close()
        self._bridge = self._started()
        await self.ready()

    async def restart_broker(self) -> None:
        """Kill -9 nats-server, and start it again on the same store."""
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)

    async def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """`broker-plane session …`: exit code, standard output, standard error."""
        run = partial(forked.run, "broker_plane.cli.main", "session", *arguments, env=self.environment, text=stdin)
        done = await asyncio.to_thread(run)
        return done.returncode, done.stdout, done.stderr

    def close(self) -> None:
        self._bridge.close()
        self.server.stop()

    def _started(self) -> Actor:
        return ForkedActor("broker_plane.cli.bridge", "--port", self._port, BROKER_PLANE_NATS_URL=self.server.url)
