"""A home: an embedded broker with a data directory of its own, actors that work on it, and an end for all of it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.embedded.broker import BRIDGE_COMMAND, attach, find, stop
from broker_plane.embedded.state import Running
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.testing.processes import Actor
from broker_plane.testing.server import NatsServer, wait_for
from tests.faults.three_nodes import ThreeNodes
from tests.forked import ForkedActor

STORE_BYTES = 8 << 30


class Stage:
    """The processes of one test, by what they work on."""

    def __init__(self) -> None:
        self._actors: list[Actor] = []

    def act(self, verb: str, *arguments: object, **settings: object) -> Actor:
        """An actor (actor.py) with these settings of the plane in its environment."""
        return self.run("tests.faults.actor", verb, *arguments, **settings)

    async def bridge(self, server: NatsServer, **settings: object) -> str:
        """The URL of a bridge process of its own on `server`."""
        actor = self.run("broker_plane.cli.bridge", nats_url=server.url, **settings)
        return str((await actor.said())["bridge"])

    def run(self, module: str, *arguments: object, **settings: object) -> Actor:
        environment = {f"BROKER_PLANE_{name.upper()}": value for name, value in settings.items()}
        # One that has imported `time` already would not have the other clock.
        start = Actor if module == "tests.faults.skewed" else ForkedActor
        self._actors.append(start(module, *arguments, **environment))
        return self._actors[-1]

    @property
    def last(self) -> Actor:
        """The process that was started last."""
        return self._actors[-1]

    def close(self) -> None:
        """End all of them; who comes too late for that was ended by its test."""
        while self._actors:
            self._actors.pop().close()


class Home:
    """An embedded broker: a private nats-server and a bridge under a supervisor."""

    def __init__(self, root: Path, stage: Stage) -> None:
        self.settings = load_settings(data_dir=root, max_store_bytes=STORE_BYTES)
        self._stage = stage
        self._killed: set[int] = set()

    def start(self) -> Running:
        attach(self.settings, bridge_command=BRIDGE_COMMAND).close()
        return self.running()

    def running(self) -> Running:
        found: Running = wait_for(lambda: find(self.settings.data_dir), "the broker to run")
        return found

    def act(self, verb: str, *arguments: object) -> Actor:
        return self._stage.act(verb, *arguments, data_dir=self.settings.data_dir, max_store_bytes=STORE_BYTES)

    def run(self, module: str, *arguments: object) -> Actor:
        """A module of ours on this broker."""
        return self._stage.run(module, *arguments, data_dir=self.settings.data_dir, max_store_bytes=STORE_BYTES)

    def connect(self) -> AbstractAsyncContextManager[Plane]:
        return Plane.connect(self.settings)

    @asynccontextmanager
    async def wired(self) -> AsyncIterator[Wiring]:
        """The parts of a plane on this broker, for who looks into the store."""
        wiring = await wire(self.running().nats_url, self.settings)
        try:
            yield wiring
        finally:
            await wiring.close()

    def kill(self, *names: str) -> None:
        """kill -9 of "bridge" and "nats", all at once; of one that was killed before, after it has come back."""
        pids = [self._living(name) for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self._killed.update(pids)

    def _living(self, name: str) -> int:
        def pid() -> int:
            found: int = getattr(self.running(), f"{name}_pid")
            return 0 if found in self._killed else found

        living: int = wait_for(pid, f"{name} to be there again")
        return living

    def stop(self) -> bool:
        return stop(self.settings.data_dir)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeNodes]:
    """Three nodes for all tests of a module; one that kills a node brings it back."""
    nodes = ThreeNodes(tmp_path_factory.mktemp("nodes"))
    nodes.start()
    yield nodes
    nodes.stop()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture
def home(tmp_path: Path, stage: Stage) -> Iterator[Home]:
    """An embedded broker that a test may harm."""
    home = Home(tmp_path / "data", stage)
    home.start()
    yield home
    stage.close()
    home.stop()
