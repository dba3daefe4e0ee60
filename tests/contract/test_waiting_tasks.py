"""Tasks that wait for an answer: messages in the store, and nothing in any process."""

from __future__ import annotations

import asyncio
import gc
from time import perf_counter
from uuid import uuid4

import anyio
import pytest

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.plane.durable_tasks.run import TaskRun
from broker_plane.plane.durable_tasks.worker import Outcome, TaskResult
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.tasks import ServerTasks
from broker_plane.testing.processes import memory, until
from tests.figures import Figure

pytestmark = pytest.mark.anyio

AT_ONCE = 64
CALL = b'{"params":{"name":"ask","arguments":{"city":"Oslo"}},"capabilities":{"elicitation":{}},"version":"2026-07-28"}'
QUESTION = {"method": "elicitation/create", "params": {"mode": "form", "message": "Which?", "requestedSchema": {}}}
YES = {"action": "accept", "content": {}}
MIB = 1 << 20


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, max_running_tasks=AT_ONCE)


async def created_alone(server: ServerTasks, count: int) -> float:
    """How long the creation of one takes, one after the other: the median in seconds."""
    seconds: list[float] = []
    for _ in range(count):
        began = perf_counter()
        await server.tasks.create("ask", CALL, ttl_ms=3_600_000)
        seconds.append(perf_counter() - began)
    return sorted(seconds)[count // 2]


async def create(server: ServerTasks, count: int) -> None:
    async def some(share: int) -> None:
        for _ in range(share):
            await server.tasks.create("ask", CALL, ttl_ms=3_600_000)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(some, count // 8)


async def stored_bytes(plane: Plane) -> int:
    names = plane.wiring.connection.names
    streams = (f"KV_{names.tasks_bucket}", names.task_work_stream)
    return sum([(await plane.wiring.connection.api(f"STREAM.INFO.{name}"))["state"]["bytes"] for name in streams])


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.full)])
async def test_waiting_tasks_cost_no_coroutine(plane: Plane, count: int, figure: Figure) -> None:
    server = plane.tasks.of_server(f"s{uuid4().hex[:12]}")
    seconds = await created_alone(server, 40)
    before, stored = len(asyncio.all_tasks()), await stored_bytes(plane)
    gc.collect()
    resident = memory()["VmRSS"]
    asked: set[str] = set()

    async def ask(run: TaskRun) -> Outcome:
        asked.add(run.record.id)
        await run.input("colour", QUESTION)
        return TaskResult(b"{}")

    worker = asyncio.create_task(server.worker(ask).run())
    await create(server, count)

    async def waiting() -> bool:
        stored = await plane.tasks.list(server.tasks.server) if len(asked) == count + 40 else []
        return {each.status for each in stored} == {"input_required"} and idle(before)

    await until(waiting, "all tasks to wait", seconds=500)
    gc.collect()
    grown = memory()["VmRSS"] - resident
    used = await stored_bytes(plane) - stored
    said = f"{seconds * 1000:.1f} ms to create one (p50), {used / MIB:.1f} MB stored, {grown / MIB:.1f} MB more memory"
    figure(f"{count:,} waiting tasks", said, aim="no coroutine each", met=True)
    assert used < count * 4_096
    assert grown < 64 * MIB

    one = (await plane.tasks.list(server.tasks.server))[count // 2]
    await server.tasks.answer(one.id, "", {"colour": YES}, lambda *_: None)

    async def answered() -> bool:
        return (await server.tasks.get(one.id)).status == "completed"

    await until(answered, "the one that was answered to be completed")
    await cancel_and_forget(worker)


def idle(before: int) -> bool:
    """Whether no more coroutines run than before, but for the worker's own few."""
    return len(asyncio.all_tasks()) <= before + 12
