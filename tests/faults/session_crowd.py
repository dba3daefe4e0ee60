"""Many editors of one session behind lines that a test cuts, with two bridges and a nats-server that it kills."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.sessions.entries import Entry
from broker_plane.testing.processes import Actor, until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.urls import session_url
from tests.faults.conftest import Stage
from tests.faults.partition import Partition

EDITORS = 8
BRIDGES = 2
PATIENCE_SECONDS = 200
TEXT = "".join(f"Line {number}.\n" for number in range(12))
POLICY = {"limits": {"operations_per_second": 1_000_000}}


@dataclass
class Heard:
    """What the processes of the editors said."""

    stored: set[int] = field(default_factory=set)
    """Revisions of operations that an editor heard of as its own."""
    answered: dict[str, int] = field(default_factory=dict)
    """By the mark that a proposal inserted: the revision in its answer."""
    done: set[str] = field(default_factory=set)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By editor: what it last said that it has."""


@dataclass
class _Group:
    """Editors of one process."""

    job: dict[str, Any]
    actor: Actor
    listening: asyncio.Task[None]


class Crowd:
    """The whole setting; `crowd` makes it."""

    def __init__(self, server: NatsServer, stage: Stage, plane: Plane, session: str, seed: int) -> None:
        self.server = server
        self.plane = plane
        self.session = session
        self.chance = random.Random(seed)
        self.heard = Heard()
        self.lines: list[Partition] = []
        self.ports: list[int] = []
        self._stage = stage
        self._bridges: list[Actor] = []
        self._groups: list[_Group] = []

    @property
    def names(self) -> set[str]:
        """The names of all editors."""
        return {editor["name"] for group in self._groups for editor in group.job["editors"]}

    async def add_bridges(self, bridges: Sequence[Actor], ports: Sequence[int]) -> None:
        self._bridges, self.ports = [*bridges], [*ports]

    def add_group(self, job: dict[str, Any]) -> None:
        """Start a process of editors."""
        actor = self._stage.run("tests.faults.session_editors", json.dumps(job))
        self._groups.append(_Group(job, actor, asyncio.create_task(self._listen(actor))))

    async def kill_clients(self) -> None:
        """kill -9 of a process of editors; a new one continues as the same participants."""
        group = self._groups.pop(self.chance.randrange(len(self._groups)))
        await asyncio.to_thread(group.actor.kill)
        await group.listening
        self.heard.done -= {editor["name"] for editor in group.job["editors"]}
        self.add_group(group.job)

    async def kill_bridge(self) -> None:
        """kill -9 of a bridge; another one comes at its port."""
        number = self.chance.randrange(len(self._bridges))
        await asyncio.to_thread(self._bridges[number].kill)
        self._bridges[number] = await started_bridge(self._stage, self.server, self.ports[number])

    async def kill_server(self) -> None:
        """kill -9 of nats-server; it starts again with its store."""
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)

    async def part(self) -> None:
        """Cut some editors off, until the others have made some edits."""
        lines = self.chance.sample(self.lines, self.chance.randint(1, len(self.lines) - 1))
        before = len(self.heard.stored)
        silently = self.chance.random() < 0.5
        for line in lines:
            line.cut(silently=silently)
        with suppress(TimeoutError):  # the others may be done already
            await until(lambda: len(self.heard.stored) >= before + len(lines), "edits of the others", 1)
        for line in lines:
            line.heal()

    async def reached(self, edits: int) -> None:
        """Wait until so many edits are stored, or all editors are done."""
        await until(lambda: len(self.heard.stored) >= edits or self.all_done, f"{edits} edits", PATIENCE_SECONDS)

    async def finished(self) -> None:
        """Wait until all editors are done."""
        await until(lambda: self.all_done, "the editors to be done", PATIENCE_SECONDS)

    @property
    def all_done(self) -> bool:
        return self.heard.done >= self.names

    async def states(self) -> list[dict[str, Any]]:
        """What every editor has now."""
        self.heard.states.clear()
        for group in self._groups:
            group.actor.tell()
        await until(lambda: self.heard.states.keys() >= self.names, "the editors to answer", PATIENCE_SECONDS)
        return [*self.heard.states.values()]

    async def entries(self) -> list[Entry]:
        """The whole log."""
        found: list[Entry] = []
        while page := await self.plane.sessions.log(self.session, found[-1].revision if found else 0, 500):
            found += page
        return found

    async def close(self) -> None:
        for group in self._groups:
            await asyncio.to_thread(group.actor.kill)
            await cancel_and_forget(group.listening)

    async def _listen(self, actor: Actor) -> None:
        """Take what a process says, until it ends."""
        while True:
            try:
                said = await actor.said(1)
            except TimeoutError:
                continue
            except EOFError:
                return
            if "stored" in said:
                self.heard.stored.add(said["stored"])
            elif "answered" in said:
                self.heard.answered[said["mark"]] = said["answered"]
            elif "done" in said:
                self.heard.done.add(said["done"])
            else:
                self.heard.states |= {state["name"]: state for state in said["states"]}


async def started_bridge(stage: Stage, server: NatsServer, port: int = 0) -> Actor:
    """A bridge that answers, at this port or a free one."""
    actor = stage.run("broker_plane.cli.bridge", "--port", port, nats_url=server.url)
    said = await actor.said()
    actor.url = said["bridge"]  # type: ignore[attr-defined]  # of this process, for its editors
    return actor


@asynccontextmanager
async def crowd(
    server: NatsServer, stage: Stage, root: Path, *, sync: str, edits: int, processes: int, seed: int
) -> AsyncIterator[Crowd]:
    """Editors in some processes, each with a line of its own to one of two bridges."""
    async with AsyncExitStack() as stack:
        bridges = [await started_bridge(stage, server) for _ in range(BRIDGES)]
        urls: list[str] = [bridge.url for bridge in bridges]  # type: ignore[attr-defined]
        settings = load_settings(nats_url=server.url, bridge_url=urls[0], data_dir=root)
        plane = await stack.enter_async_context(Plane.connect(settings))
        created = await plane.sessions.create(TEXT, kind="text", sync=sync, policy=POLICY)  # type: ignore[arg-type]
        made = Crowd(server, stage, plane, created.session_id, seed)
        stack.push_async_callback(made.close)
        await made.add_bridges(bridges, [int(url.rpartition(":")[2]) for url in urls])
        editors = []
        for number in range(EDITORS):
            line = await stack.enter_async_context(Partition(urls[number % BRIDGES]))
            made.lines.append(line)
            editors.append(_editor(number, line.url, created.grants["editor"], settings))
        for number in range(processes):
            made.add_group({"seed": seed, "edits": edits // EDITORS, "editors": editors[number::processes]})
        yield made


def _editor(number: int, line: str, grant: str, settings: Settings) -> dict[str, Any]:
    own = {"nats_url": settings.nats_url, "bridge_url": line, "role": "guest"}
    return {"name": f"editor{number}", "session": session_url(line, grant), "settings": own}


async def patiently(work: Any, what: str) -> Any:
    """What `work()` returns, tried again while the broker is away."""

    async def attempt() -> Any:
        try:
            return [await work()]
        except BrokerPlaneError as error:
            if not error.retryable:
                raise
            return None

    return (await until(attempt, what, PATIENCE_SECONDS))[0]


def marks_in(texts: Iterable[str], marks: Iterable[str]) -> set[str]:
    """Those of the marks that occur in one of the texts."""
    whole = "\n".join(texts)
    return {mark for mark in marks if mark in whole}
