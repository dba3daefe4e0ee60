"""The setup of `longrun`: a server with a task tool, a private broker, agents, and the code that kills them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import time
from typing import Any, TypeVar

import orjson

from broker_plane import Plane, Settings, load_settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.testing.embedded import find

from .bars import working
from .processes import ServerProcess
from .stage import DemoError, module

T = TypeVar("T")
LEASE_SECONDS = 2
_WAIT_SECONDS = 120.0
_LOOK_SECONDS = 0.005


@dataclass(slots=True)
class Life:
    """When a process was there, in unix seconds. `end` is 0 while it runs."""

    lane: str
    begin: float
    end: float = 0.0
    killed: bool = False
    pid: int = 0


@dataclass(slots=True)
class Kill:
    """A process was killed in a step."""

    at: float
    lane: str
    step: int


@dataclass(slots=True)
class Step:
    """One beginning of a step. `ended` is 0 if its process was killed before its end."""

    number: int
    name: str
    began: float
    pid: int
    ended: float = 0.0


@dataclass(slots=True)
class LongRun:
    """The processes of the demo, and what was observed."""

    plane: Plane
    settings: Settings
    server: ServerProcess
    journal: Path
    expected: list[dict[str, Any]]
    """The rows of a run without interruptions, computed in this process."""
    began: float = 0.0
    lives: list[Life] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    """Everything that the agents printed."""
    steps: list[Step] = field(default_factory=list)
    task_id: str = ""
    milliseconds: float = 0.0
    _agent: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start the first agent, which calls the tool, and wait for the id of the task."""
        self.began = time()
        self.lives.append(Life("nats-server", self.began, pid=self._nats_pid()))
        self.lives.append(Life("server", self.began, pid=self.server.pid))
        await self._start_agent()
        self.task_id = (await self._heard("task"))["task"]

    async def in_step(self, number: int) -> None:
        """Wait until the step with this number has begun."""
        with working(f"longrun: step {number} of {len(self.expected)}"):
            await self._until(lambda: len(set(self._journal())) >= number, f"step {number}")

    async def kill_agent(self) -> None:
        """Kill the agent, and start another one with the id of the task."""
        assert self._agent is not None  # noqa: S101 - for the type checker: there is one
        self._agent.kill()
        await self._agent.wait()
        self._killed("agent")
        await self._start_agent(self.task_id)

    async def kill_server(self) -> None:
        """Kill the server in the middle of a step, and start it again on the same port."""
        await self.server.kill()
        self._killed("server")
        await self.server.start()
        self.lives.append(Life("server", time(), pid=self.server.pid))

    async def kill_nats(self) -> None:
        """Kill nats-server; whoever needs it starts it again."""
        before = self._nats_pid()
        os.kill(before, signal.SIGKILL)
        self._killed("nats-server")
        await self._until(lambda: self._nats_pid() not in (0, before), "another nats-server")
        self.lives.append(Life("nats-server", time(), pid=self._nats_pid()))

    async def end(self) -> None:
        """Wait for the result, and collect the steps."""
        with working("longrun: the last steps"):
            await self._heard("result")
        assert self._agent is not None and self._reading is not None  # noqa: S101 - for the type checker
        await self._agent.wait()
        await self._reading
        self._life("agent").end = time()
        self.milliseconds = (time() - self.began) * 1000
        self.steps = _steps(self._entries(), (await self._shown())["steps"])

    @property
    def result(self) -> list[dict[str, Any]]:
        """The rows that the last agent got."""
        found: dict[str, Any] = next(each for each in self.said if "result" in each)["result"] or {}
        rows: list[dict[str, Any]] = (found.get("structuredContent") or {}).get("result", [])
        return rows

    @property
    def problems(self) -> list[str]:
        """What differs from a run without interruptions; empty if nothing does."""
        found = []
        if self.result != self.expected:
            found.append("The result is not that of a run without interruptions")
        if sum("result" in each for each in self.said) != 1:
            found.append("There is not exactly one result")
        interrupted = {kill.step for kill in self.kills if kill.lane == "server"}
        again = {step.number for step in self.steps if not step.ended}
        if again != interrupted or len(self.steps) != len(self.expected) + len(interrupted):
            found.append(f"Steps began again: {sorted(again)}; only {sorted(interrupted)} were interrupted")
        return found

    @property
    def verified(self) -> bool:
        return not self.problems

    async def _start_agent(self, *task: str) -> None:
        spelled, path = module("demos.longrun_agent")
        self._agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", spelled, self.server.url, *task),
            env={**os.environ, "PYTHONPATH": path},
            stdout=asyncio.subprocess.PIPE,
        )
        self.lives.append(Life("agent", time(), pid=self._agent.pid))
        self._reading = asyncio.create_task(self._read(self._agent))

    async def _read(self, agent: asyncio.subprocess.Process) -> None:
        assert agent.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        async for line in agent.stdout:
            with suppress(orjson.JSONDecodeError):  # a line that was cut off by the kill
                self.said.append(orjson.loads(line))

    async def stop(self) -> None:
        """End the agent, if it still runs."""
        if self._agent is not None and self._agent.returncode is None:
            self._agent.kill()
            await self._agent.wait()

    async def _heard(self, member: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((each for each in self.said if member in each), None)

        heard = await self._until(found, f"the {member}")
        assert heard is not None  # noqa: S101 - for the type checker
        return heard

    async def _until(self, condition: Callable[[], T], what: str) -> T:
        deadline = time() + _WAIT_SECONDS
        while not (found := condition()):
            if time() > deadline:
                raise DemoError(f"Waited {_WAIT_SECONDS:.0f} s for {what}; the agents printed {self.said[-3:]}")
            await asyncio.sleep(_LOOK_SECONDS)
        return found

    async def _shown(self) -> dict[str, Any]:
        """The task, also just after nats-server was killed."""
        async with asyncio.timeout(_WAIT_SECONDS):
            while True:
                with suppress(BrokerPlaneError):
                    return await self.plane.tasks.show(self.task_id)
                await asyncio.sleep(_LOOK_SECONDS)

    def _killed(self, lane: str) -> None:
        life = self._life(lane)
        life.end, life.killed = time(), True
        self.kills.append(Kill(life.end, lane, len(set(self._journal()))))

    def _life(self, lane: str) -> Life:
        return next(life for life in reversed(self.lives) if life.lane == lane)

    def _nats_pid(self) -> int:
        running = find(self.settings.data_dir)
        return running.nats_pid if running else 0

    def _entries(self) -> list[dict[str, Any]]:
        lines = self.journal.read_bytes().splitlines() if self.journal.exists() else []
        return [orjson.loads(line) for line in lines]

    def _journal(self) -> list[str]:
        return [entry["step"] for entry in self._entries()]


def _steps(begun: list[dict[str, Any]], completed: list[dict[str, Any]]) -> list[Step]:
    """Every beginning of a step; the last one of each is the one that was completed."""
    ends = {step["step"]: step["ended"] for step in completed}
    names = list(dict.fromkeys(entry["step"] for entry in begun))
    steps = [Step(names.index(entry["step"]) + 1, entry["step"], entry["at"], entry["pid"]) for entry in begun]
    for name, ended in ends.items():
        next(step for step in reversed(steps) if step.name == name).ended = ended
    return steps


@asynccontextmanager
async def long_run(scratch: Path) -> AsyncIterator[LongRun]:
    """Set up the demo; after the block every process except the broker has ended.

    Raises:
        DemoError: the server does not start.
    """
    analysis = import_module(module("servers.analysis")[0])
    journal = scratch / "journal"
    async with AsyncExitStack() as stack:
        settings = load_settings(data_dir=scratch / "plane", nats_url="", bridge_url="")
        plane = await stack.enter_async_context(Plane.connect(settings))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
        environment |= {
            "BROKER_PLANE_DATA_DIR": str(settings.data_dir),
            "BROKER_PLANE_TASK_LEASE_SECONDS": str(LEASE_SECONDS),
            "ANALYSIS_JOURNAL": str(journal),
        }
        server = ServerProcess("analysis", environment, scratch / "analysis.log")
        stack.push_async_callback(server.stop)
        with working("longrun: start the server, and compute the result to compare with"):
            expected, _ = await asyncio.gather(asyncio.to_thread(_computed, analysis), server.start())
        play = LongRun(plane, settings, server, journal, expected)
        stack.push_async_callback(play.stop)
        yield play


def _computed(analysis: Any) -> list[dict[str, Any]]:
    return [analysis.interval(airline, analysis.RESAMPLES) for airline in analysis.AIRLINES]
