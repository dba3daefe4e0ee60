"""Tasks over clean stops of their process and a restart of nats-server. A process is a server with its own plane."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from mcp import Client

from broker_plane import PlaneServer, TaskContext
from broker_plane.config import load_settings
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer

from .tasks import ask, call, reached
from .test_task_protocol import taking

pytestmark = pytest.mark.anyio


class Process:
    """One process of a server, and the steps that it has carried out."""

    def __init__(self, name: str, server: NatsServer, directory: Path, **settings: Any) -> None:
        self.carried_out: list[int] = []
        self.held, self.go_on = asyncio.Event(), asyncio.Event()
        self.cleaned = False
        made = load_settings(nats_url=server.url, data_dir=directory, bridge_url="http://127.0.0.1:1", **settings)
        self.server = PlaneServer(name, settings=made)

        @self.server.task_tool
        async def work(task: TaskContext) -> list[int]:
            try:
                return [await task.step(f"step {number}", self.step, number) for number in range(3)]
            finally:
                self.cleaned = True

    async def step(self, number: int) -> int:
        self.carried_out.append(number)
        if number == 1:
            self.held.set()
            await self.go_on.wait()
        return number


async def begun(process: Process, client: Client) -> str:
    """A task that is in its second step."""
    task_id: str = (await call(client, "work"))["taskId"]
    with anyio.fail_after(60):
        await process.held.wait()
    return task_id


@pytest.fixture
def name() -> str:
    return f"test-{uuid4().hex[:12]}"


async def test_a_process_that_stops_gives_its_tasks_back_at_once(
    nats_server: NatsServer, tmp_path: Path, name: str
) -> None:
    """The lease is ten minutes: nothing would happen before its end."""
    first, second = (Process(name, nats_server, tmp_path, task_lease_seconds=600) for _ in range(2))
    async with taking(first.server.mcp) as client:
        task_id = await begun(first, client)
    assert first.cleaned
    second.go_on.set()
    async with taking(second.server.mcp) as client:
        ended = await reached(client, task_id)
    assert ended["result"]["structuredContent"] == {"result": [0, 1, 2]}
    assert (first.carried_out, second.carried_out) == ([0, 1], [1, 2])


async def test_a_task_outlives_kill_9_of_nats_server(own_server: NatsServer, tmp_path: Path, name: str) -> None:
    process = Process(name, own_server, tmp_path, task_lease_seconds=1, request_timeout_seconds=1)
    async with taking(process.server.mcp) as client:
        task_id = await begun(process, client)
        own_server.kill()
        process.go_on.set()
        own_server.start()

        async def ended() -> Any:
            try:
                return (await ask(client, "get", task_id))["status"] == "completed"
            except Exception:  # noqa: BLE001  # while the broker is away
                return False

        await until(ended, "the task to be completed")
    assert process.carried_out == [0, 1, 2], "the run went on in memory"
