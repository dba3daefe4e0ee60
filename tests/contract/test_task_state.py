"""The state of tasks: larger than a message of NATS, damaged, and of work that was lost. No task stops another one."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import TaskError, WireError
from broker_plane.plane.durable_tasks.parts import content_of, detailed
from broker_plane.plane.durable_tasks.run import END_SECONDS, TaskRun
from broker_plane.plane.durable_tasks.worker import Outcome, TaskFailure, TaskResult
from broker_plane.runtime.tasks import ServerTasks
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.tasks import TaskRecord
from tests import forked
from tests.contract.task_bodies import QUESTION, YES, created, encoded, no_check, reached, working

pytestmark = pytest.mark.anyio
LARGE = 60_000
QUESTIONS = 20


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A nats-server as it is installed: a message has at most 1 MB."""
    server = NatsServer(tmp_path_factory.mktemp("small"), more="max_payload: 1MB\n")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def small(small_server: NatsServer, tmp_path: Any) -> AsyncIterator[Plane]:
    settings = load_settings(nats_url=small_server.url, data_dir=tmp_path, task_lease_seconds=1)
    async with Plane.connect(settings) as plane:
        assert plane.wiring.connection.max_payload == 1 << 20
        yield plane


def tasks_of(plane: Plane) -> ServerTasks:
    """The tasks of a server that no other test uses."""
    return plane.tasks.of_server(f"s{uuid4().hex[:12]}")


async def test_many_large_questions_and_answers_outgrow_no_message(small: Plane) -> None:
    server = tasks_of(small)
    deaths: list[int] = []

    async def body(run: TaskRun) -> Outcome:
        deaths.append(run.record.deaths)
        with pytest.raises(TaskError, match="at most 65,536 bytes as JSON; this one has"):
            await run.input("huge", QUESTION | {"more": "x" * (64 << 10)})
        asked = [run.input(f"q{number}", QUESTION | {"more": "?" * LARGE}) for number in range(QUESTIONS)]
        return TaskResult(encoded([len(str(each["content"])) for each in await asyncio.gather(*asked)]))

    async with working(server, body):
        task = await server.tasks.create("tool", encoded("x" * 3_000_000), ttl_ms=60_000)
        waiting = await reached(server, task, "input_required")
        shown = await detailed(server.tasks.store, waiting, server.tasks.now())
        assert {key: len(each["more"]) for key, each in shown["inputRequests"].items()} == {
            f"q{number}": LARGE for number in range(QUESTIONS)
        }
        answers = {f"q{number}": {"action": "accept", "content": {"a": "x" * LARGE}} for number in range(QUESTIONS)}
        await server.tasks.answer(task.id, "", {"q0": answers["q0"]}, no_check)
        assert len((await server.tasks.get(task.id)).outstanding) == QUESTIONS - 1
        await server.tasks.answer(task.id, "", answers, no_check)
        ended = await reached(server, task, "completed", "failed")
    assert json.loads(await server.tasks.store.value(ended, ended.result)) == [LARGE + len("{'a': ''}")] * QUESTIONS
    assert deaths == [0, 0]


async def test_a_large_error_and_odd_text_are_kept(small: Plane) -> None:
    server = tasks_of(small)
    data = {"why": "x" * 3_000_000, "half": "\ud800", "number": float("inf")}

    async def body(run: TaskRun) -> Outcome:
        for wrong in ("\ud800", "x" * 129):
            with pytest.raises(TaskError, match="1 to 128 characters"):
                await run.input(wrong, QUESTION)
        await run.input("which", QUESTION | {"half": "\ud800"})
        return TaskFailure({"code": -32000, "message": "no \ud800", "data": data})

    async with working(server, body):
        task = await created(server)
        waiting = await reached(server, task, "input_required")
        assert (await content_of(server.tasks.store, waiting, waiting.outstanding["which"]))["half"] == "\ud800"
        await server.tasks.answer(task.id, "", {"which": YES | {"half": "\ud800"}}, no_check)
        ended = await reached(server, task, "failed")
    assert (await content_of(server.tasks.store, ended, ended.error))["data"] == data
    assert ended.message == "no ?"


async def purge(plane: Plane) -> None:
    connection = plane.wiring.connection
    await connection.api(f"STREAM.PURGE.{connection.names.task_work_stream}")


async def test_work_that_is_lost_is_queued_anew_once(plane: Plane) -> None:
    """Of a task whose process has died, one that nobody has begun, and one that was given back."""
    server, begun = tasks_of(plane), asyncio.Event()
    steps: list[str] = []

    async def body(run: TaskRun) -> Outcome:
        async def step() -> bytes:
            steps.append(run.record.id)
            return b"1"

        await run.step("one", step)
        if len(steps) == 1:
            begun.set()
            await anyio.sleep_forever()
        return TaskResult(b"{}")

    async with working(server, body):
        given_back = await created(server)
        await begun.wait()
    left, died = await created(server), await created(server)
    record, revision = await server.tasks.store.load(server.tasks.server, died.id)
    assert record is not None
    held = TaskRecord(**{name: getattr(record, name) for name in record.__struct_fields__} | {"holder": "dead"})
    await server.tasks.store.save(held, revision)
    assert await server.tasks.sweep() == 0, "all of them are queued"
    await purge(plane)
    assert await server.tasks.sweep() == 3
    assert await server.tasks.sweep() == 0
    async with working(server, body):
        for task in (given_back, left, died):
            await reached(server, task, "completed")
    assert steps.count(given_back.id) == 1, "completed steps are known, although the work is new"
    connection = plane.wiring.connection
    await connection.api(f"STREAM.DELETE.{connection.names.task_work_stream}")
    assert await server.tasks.sweep() == 0


async def test_a_damaged_task_is_named_and_stops_no_other(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    server = tasks_of(plane)
    connection = plane.wiring.connection
    damaged = [await created(server) for _ in range(3)]
    whole = json.loads(damaged[0].pack())
    stored = [b"\xff{", json.dumps(whole | {"created": 1e308}).encode(), damaged[0].pack()]
    for task, raw in zip(damaged, stored, strict=True):
        await connection.store(f"$KV.{connection.names.tasks_bucket}.h.{server.tasks.server}.{task.id}", raw)
    foreign = connection.names.task_work_subject(server.tasks.server, "x", "nonsense")
    await connection.store(foreign, b"")

    async def body(run: TaskRun) -> Outcome:
        return TaskResult(b"{}")

    with caplog.at_level(logging.WARNING, logger="broker_plane"):
        fresh = plane.tasks.of_server(server.tasks.server)
        async with working(fresh, body):
            for _ in range(3):
                await reached(fresh, await created(fresh), "completed")
            await until(lambda: all(task.id in caplog.text for task in damaged), "each to be named")
            assert await fresh.tasks.sweep() == 0
    assert {each.id for each in await plane.tasks.damaged(server.tasks.server)} == {task.id for task in damaged}
    assert len(await plane.tasks.list(server.tasks.server)) == 3
    said = (await found_by_doctor(plane))["tasks"]
    assert all(task.id in said for task in damaged)
    with pytest.raises(WireError, match="damaged"):
        await plane.tasks.get(damaged[1].id)


async def found_by_doctor(plane: Plane) -> dict[str, Any]:
    environment = {
        **os.environ,
        "BROKER_PLANE_NATS_URL": plane.settings.nats_url,
        "BROKER_PLANE_DATA_DIR": str(plane.settings.data_dir),
    }
    done = await anyio.to_thread.run_sync(
        lambda: forked.run("broker_plane.cli.main", "doctor", "--json", env=environment)
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_a_function_that_catches_its_cancellation_loses_its_place(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    server, running, go_on = tasks_of(plane), asyncio.Event(), asyncio.Event()

    async def body(run: TaskRun) -> Outcome:
        running.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return TaskResult(b"{}")

    async with working(server, body, end_seconds=0.2):
        task = await created(server)
        await running.wait()
        await server.tasks.cancel(task.id)
        ended = await reached(server, task, "cancelled")
        assert "it catches asyncio.CancelledError" in caplog.text
        go_on.set()
        await reached(server, await created(server), "completed")
        assert await server.tasks.get(task.id) == ended, "what it returns in the end changes nothing"


async def test_a_task_that_waits_for_an_answer_keeps_nothing_in_memory(plane: Plane) -> None:
    """Within the time after which a function that goes on would lose its place."""
    server = tasks_of(plane)
    runs: list[weakref.ref[TaskRun]] = []

    async def body(run: TaskRun) -> Outcome:
        runs.append(weakref.ref(run))
        await run.input("which", QUESTION)
        return TaskResult(b"{}")

    def is_forgotten() -> bool:
        gc.collect()
        return runs[0]() is None

    async with working(server, body):
        await reached(server, await created(server), "input_required")
        await until(is_forgotten, "the run to be forgotten", END_SECONDS / 2)
