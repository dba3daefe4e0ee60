"""Durable requests under kill -9, SIGSTOP and restarts of nats-server: one answer each, in order, none lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker_plane.config import load_settings
from broker_plane.errors import BrokerUnavailableError
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.testing.processes import Actor
from broker_plane.testing.server import NatsServer, eventually

pytestmark = pytest.mark.anyio
SECONDS = 60
"""For what takes less than six."""


class Scene:
    """Processes that answer requests to one server, and their callers' view of the store."""

    def __init__(self, server: NatsServer, wiring: Wiring, root: Path) -> None:
        self.name = f"s{secrets.token_hex(6)}"
        self.store = NatsExchanges(wiring.connection)
        self._nats = server
        self._wiring = wiring
        self._effects = root / "effects"
        self._effects.mkdir()
        self._workers: list[Actor] = []

    def worker(self, messages: int = 3, pause: float = 0.0) -> Actor:
        environment = {"BROKER_PLANE_NATS_URL": self._nats.url, "EFFECTS": self._effects}
        self._workers.append(Actor("tests.faults.exchange_worker", self.name, messages, pause, **environment))
        return self._workers[-1]

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    async def ask(self) -> ExchangeKey:
        key = ExchangeKey(self.name, f"n{secrets.token_hex(16)}", secrets.token_hex(16))
        line = json.dumps({"jsonrpc": "2.0", "id": key.exchange, "method": "tools/call", "params": {}}).encode()
        while True:
            try:
                await self.store.ask(key, line, {}, 600)
                return key
            except BrokerUnavailableError:
                await asyncio.sleep(0.02)

    async def answered(self, keys: list[ExchangeKey], messages: int) -> None:
        """Wait for all answers; each exchange has its messages once and in order, and each effect happened once."""
        for key in keys:
            found: list[Said] = []

            async def ended(key: ExchangeKey = key, found: list[Said] = found) -> bool:
                try:
                    found[:] = await self.store.messages(key)
                except BrokerUnavailableError:
                    return False
                return bool(found) and found[-1].last

            await eventually(ended, SECONDS)
            assert [said.seq for said in found] == list(range(1, messages + 2)), found
            assert [said.last for said in found] == [False] * messages + [True]
            told = [json.loads(said.line)["params"]["progress"] for said in found[:-1]]
            assert told == list(range(1, messages + 1))
            assert json.loads(found[-1].line)["id"] == key.exchange
        assert {file.name for file in self._effects.iterdir()} == {key.exchange for key in keys}


@pytest.fixture
async def wiring(own_server: NatsServer, tmp_path: Path) -> AsyncIterator[Wiring]:
    wired = await wire(own_server.url, load_settings(nats_url=own_server.url, data_dir=tmp_path))
    yield wired
    await wired.close()


@pytest.fixture
def scene(own_server: NatsServer, wiring: Wiring, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(own_server, wiring, tmp_path)
    yield scene
    scene.close()


async def until_said(worker: Actor, **fields: object) -> None:
    """Read what a process prints until a line has these fields."""
    while not fields.items() <= (await worker.said(SECONDS)).items():
        pass


async def test_a_killed_process_is_replaced_after_its_lease(scene: Scene) -> None:
    first = scene.worker(messages=4, pause=0.2)
    key = await scene.ask()
    await until_said(first, said=2)
    first.kill()
    second = scene.worker(messages=4)
    await until_said(second, begun=key.exchange, attempt=2)
    await scene.answered([key], messages=4)


async def test_a_process_that_slept_through_its_lease_says_nothing_more(scene: Scene) -> None:
    first = scene.worker(messages=4, pause=0.2)
    key = await scene.ask()
    await until_said(first, said=2)
    os.kill(first.pid, signal.SIGSTOP)
    second = scene.worker(messages=4)
    await until_said(second, last=True)
    os.kill(first.pid, signal.SIGCONT)
    another = await scene.ask()
    second.kill()
    await until_said(first, last=True)  # it has given up the old request, and takes the next one
    await scene.answered([key, another], messages=4)


async def test_a_restart_of_nats_server_loses_nothing(scene: Scene, own_server: NatsServer) -> None:
    worker = scene.worker(messages=6, pause=0.1)
    keys = [await scene.ask() for _ in range(5)]
    await until_said(worker, said=2)
    own_server.kill()
    own_server.start()
    keys.append(await scene.ask())
    await scene.answered(keys, messages=6)


async def test_an_absence_of_nats_server_that_outlasts_the_lease_repeats_nothing(
    scene: Scene, own_server: NatsServer
) -> None:
    worker = scene.worker(messages=6, pause=0.1)
    key = await scene.ask()
    await until_said(worker, said=2)
    own_server.kill()
    await asyncio.sleep(2.5)  # longer than the lease
    own_server.start()
    await scene.answered([key], messages=6)


async def test_a_process_that_is_asked_to_stop_gives_back_at_once(scene: Scene) -> None:
    first = scene.worker(messages=4, pause=0.3)
    key = await scene.ask()
    await until_said(first, said=1)
    os.kill(first.pid, signal.SIGINT)
    second = scene.worker(messages=4)
    await until_said(second, begun=key.exchange, attempt=2)
    await scene.answered([key], messages=4)
    assert await scene.store.excuses(key) == 1


async def test_kills_of_everything_lose_and_repeat_nothing(scene: Scene, own_server: NatsServer) -> None:
    await killed(scene, own_server, kills=4)


@pytest.mark.full
async def test_a_hundred_kills_lose_and_repeat_nothing(scene: Scene, own_server: NatsServer) -> None:
    await killed(scene, own_server, kills=100)


async def killed(scene: Scene, server: NatsServer, *, kills: int) -> None:
    """Kill a worker and nats-server in turn, at random moments, while requests are stored and answered."""
    chance = random.Random(7)
    workers = [scene.worker(messages=5, pause=0.02) for _ in range(2)]
    keys: list[ExchangeKey] = []
    over = asyncio.Event()

    async def asking() -> None:
        while not over.is_set():
            keys.append(await scene.ask())
            await asyncio.sleep(0.02)

    caller = asyncio.create_task(asking())
    for number in range(kills):
        worker = workers[number // 2 % 2]
        await until_said(worker)  # it answers something: a request that kills five processes would be given up
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        if number % 2:
            server.kill()
            server.start()
        else:
            worker.kill()
            workers[number // 2 % 2] = scene.worker(messages=5, pause=0.02)
    over.set()
    await caller
    print(f"{kills} kills, {len(keys)} requests")
    await scene.answered(keys, messages=5)
