"""Processes that meet a new protocol at the same time have its code written once, also if the first one is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from broker_plane.testing.processes import Actor, until
from broker_plane.testing.server import NatsServer
from tests.forked import ForkedActor
from tests.levels.api import BODY, PagedApi

pytestmark = pytest.mark.anyio


class Learners:
    """Processes with one code cache; `calls` are the ids of those whose provider was asked."""

    def __init__(self, server: NatsServer, buckets: str, api: PagedApi, directory: Path) -> None:
        self._common = (server.url, buckets, api.url + "/v1/items/17?view=all")
        self._directory = directory
        self._actors: list[Actor] = []

    def start(self) -> Actor:
        files = (self._directory / name for name in (f"body{len(self._actors)}", "calls", "gate"))
        self._actors.append(ForkedActor("tests.levels.learner", *self._common, *files))
        return self._actors[-1]

    def calls(self) -> list[int]:
        path = self._directory / "calls"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def open_gate(self) -> None:
        (self._directory / "gate").touch()

    def bodies(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self._directory.glob("body?"))]

    def close(self) -> None:
        for actor in self._actors:
            actor.close()


@pytest.fixture
def learners(nats_server: NatsServer, buckets: str, api: PagedApi, tmp_path: Path) -> Iterator[Learners]:
    found = Learners(nats_server, buckets, api, tmp_path)
    yield found
    found.close()


async def test_processes_that_meet_a_protocol_at_once_ask_once(learners: Learners) -> None:
    actors = [learners.start() for _ in range(3)]
    for actor in actors:
        assert await actor.said() == "begins"
    await until(learners.calls, "one of them to ask")
    await anyio.sleep(0.3)  # for the others to ask as well, if they would
    learners.open_gate()
    outcomes = [await actor.said() for actor in actors]
    assert sorted(outcome["level"] for outcome in outcomes) == ["1.5", "1.5", "2"]
    assert sum(outcome["calls"] for outcome in outcomes) == 1
    assert len(learners.calls()) == 1
    assert learners.bodies() == [BODY] * 3


async def test_after_a_kill_another_one_takes_over(learners: Learners) -> None:
    first = learners.start()
    assert await first.said() == "begins"
    await until(learners.calls, "the first one to ask")
    second = learners.start()
    assert await second.said() == "begins"
    first.kill()
    learners.open_gate()
    assert await second.said() == {"level": "2", "calls": 1}
    assert learners.calls() == [first.pid, second.pid]
    assert learners.bodies() == [BODY]
