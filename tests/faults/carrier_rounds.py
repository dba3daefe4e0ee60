"""One call over a carrier, during which everything is killed once: the server, the caller and nats-server."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from broker_plane.testing.processes import Actor, until
from broker_plane.testing.server import NatsServer
from tests.faults.keyed_server import place_of

STEPS = 8
WAIT_SECONDS = 100
"""Ten times the lease, after which another process takes a call over."""


@dataclass
class Heard:
    """What the processes of one caller printed about one call."""

    progress: list[list[float]] = field(default_factory=lambda: [[]])
    """Of each process that asked, in the order of arrival."""
    results: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def take(self, said: dict[str, Any]) -> None:
        if "progress" in said:
            self.progress[-1].append(said["progress"])
        elif "result" in said:
            self.results.append(said["result"])
        else:
            self.errors.append(said["error"])


class Killing:
    """A server, a caller and nats-server; `round` makes one call and kills each of them at a random step of it."""

    def __init__(
        self, nats: NatsServer, serve: Callable[[], Actor], ask: Callable[[], Actor], directory: Path, seed: int
    ) -> None:
        self._nats = nats
        self._serve, self._ask = serve, ask
        self._directory = directory
        self._chance = random.Random(seed)
        self._server = serve()
        self._caller: Actor | None = None
        self.durations: list[float] = []
        """Seconds from each kill of the server until another process works on the call."""

    async def start(self) -> None:
        """Returns when the server answers and the caller is connected."""
        assert "error" not in await self._server.said(WAIT_SECONDS)
        await self._connect()

    async def round(self, key: str) -> Heard:
        """Everything is killed once between the request and the answer; returns what the caller has seen."""
        place, heard = place_of(self._directory, key), Heard()
        at_server, at_caller, at_nats = sorted(self._chance.choices(range(1, STEPS + 1), k=3))
        await self._call(key)
        await self._led_to(place, at_server, heard)
        await self._kill_server(place, at_server)
        await self._led_to(place, at_caller, heard)
        await self._kill_caller(key, heard)
        await self._led_to(place, at_nats, heard)
        self._nats.kill()
        self._nats.start()
        self._allow(place, STEPS)
        await self._answered(heard)
        return heard

    async def _call(self, key: str) -> None:
        assert self._caller is not None
        self._caller.tell(json.dumps({"key": key, "directory": str(self._directory), "steps": STEPS}))

    async def _led_to(self, place: Path, step: int, heard: Heard) -> None:
        """The tool has come to `step` and waits there, and the caller has heard of it."""
        self._allow(place, step - 1)
        while not heard.progress[-1] or max(heard.progress[-1]) < step:
            await self._hear(heard)

    async def _kill_server(self, place: Path, step: int) -> None:
        self._server.close()
        began = monotonic()
        self._server = self._serve()
        await self._server.said(WAIT_SECONDS)

        def works() -> bool:
            return (place / "steps").read_text().splitlines()[-1] == f"{self._server.pid} {step}"

        await until(works, "another process to take the call over", WAIT_SECONDS)
        self.durations.append(monotonic() - began)

    async def _kill_caller(self, key: str, heard: Heard) -> None:
        assert self._caller is not None
        self._caller.close()
        heard.progress.append([])
        await self._connect()
        await self._call(key)

    async def _connect(self) -> None:
        self._caller = self._ask()
        assert "ready" in await self._caller.said(WAIT_SECONDS)

    async def _hear(self, heard: Heard) -> None:
        assert self._caller is not None
        heard.take(await self._caller.said(WAIT_SECONDS))
        assert not heard.errors, heard

    async def _answered(self, heard: Heard) -> None:
        while not heard.results:
            await self._hear(heard)

    @staticmethod
    def _allow(place: Path, step: int) -> None:
        place.mkdir(exist_ok=True)
        written = place / "open.new"
        written.write_text(str(step))
        written.rename(place / "open")


def check(heard: Heard, place: Path) -> None:
    """One answer, all steps in order and once, and one effect, which the answer is about."""
    effects = (place / "effects").read_text().split()
    assert heard.results == [{"effect": effects[0]}], heard
    assert len(effects) == 1
    for progress in heard.progress:
        assert progress == sorted(set(progress)), heard
    assert heard.progress[-1] == [*range(1, STEPS + 1)], heard
