"""Tasks over a real nats-server: created before their work, run under leases, and never ended twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import anyio
import pytest

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.errors import KeyReusedError, TaskError, TaskNotFoundError
from broker_plane.plane.durable_tasks.parts import content_of
from broker_plane.plane.durable_tasks.run import TaskRun
from broker_plane.plane.durable_tasks.worker import Outcome, TaskDeferred, TaskFailure, TaskResult
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.tasks import ServerTasks
from broker_plane.testing.processes import until
from tests.contract.task_bodies import QUESTION, YES, Body, created, encoded, no_check, reached, working

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, task_lease_seconds=1)


@pytest.fixture
def server(plane: Plane) -> ServerTasks:
    """The tasks of a server that no other test uses."""
    return plane.tasks.of_server(f"s{uuid4().hex[:12]}")


async def answer_of(value: Any) -> bytes:
    return encoded(value)


async def test_a_task_runs_with_its_call_and_has_its_result(server: ServerTasks) -> None:
    async def body(run: TaskRun) -> Outcome:
        await run.say("half")
        return TaskResult(encoded({"call": json.loads(run.call), "token": bool(run.token)}))

    async with working(server, body):
        done = await reached(server, await created(server), "completed")
    assert done.message == "half"
    assert json.loads(await server.tasks.store.value(done, done.result)) == {"call": {"call": 1}, "token": True}


async def test_a_failed_run_has_its_error(server: ServerTasks) -> None:
    async def body(run: TaskRun) -> Outcome:
        return TaskFailure({"code": -32000, "message": "no"})

    async with working(server, body):
        done = await reached(server, await created(server), "failed")
    assert await content_of(server.tasks.store, done, done.error) == {"code": -32000, "message": "no"}


async def test_a_task_exists_before_its_work_and_a_look_queues_it(server: ServerTasks, plane: Plane) -> None:
    """As after the death of the process that had just stored the record."""
    task = await created(server)
    connection = plane.wiring.connection
    work = connection.names.task_work_subject("*", task.id, "*")
    await connection.api(f"STREAM.PURGE.{connection.names.task_work_stream}", {"filter": work})

    async def body(run: TaskRun) -> Outcome:
        return TaskResult(b"{}")

    assert (await server.tasks.get(task.id)).status == "working"
    await server.tasks.sweep()
    async with working(server, body):
        await reached(server, task, "completed")


async def test_the_same_key_of_the_same_client_is_the_same_task(server: ServerTasks) -> None:
    first = await created(server, key="order 1", client="a")
    assert (await created(server, key="order 1", client="a")).id == first.id
    others = [await created(server, key="order 2", client="a"), await created(server, key="order 1", client="b")]
    assert len({first.id, *(each.id for each in others)}) == 3


async def test_a_key_of_another_call_is_refused_also_once_the_record_was_removed(
    server: ServerTasks, plane: Plane
) -> None:
    first = await created(server, key="order 1", client="a")
    with pytest.raises(KeyReusedError):
        await created(server, key="order 1", client="a", same=lambda stored: False)
    connection = plane.wiring.connection
    record = f"$KV.{connection.names.tasks_bucket}.h.{server.tasks.server}.{first.id}"
    await connection.api(f"STREAM.PURGE.KV_{connection.names.tasks_bucket}", {"filter": record})
    with pytest.raises(KeyReusedError):
        await server.tasks.create("other", b"{}", client="a", ttl_ms=60_000, key="order 1", same=lambda stored: False)
    assert await plane.tasks.list(server.tasks.server) == [], "a refused call has made no task"
    assert (await created(server, key="order 1", client="a")).id == first.id


async def test_completed_steps_are_kept_when_another_process_takes_over(server: ServerTasks) -> None:
    done: list[str] = []
    stuck = asyncio.Event()

    def body(process: str) -> Body:
        async def work(run: TaskRun) -> Outcome:
            for number in range(3):

                async def step(number: int = number) -> bytes:
                    done.append(f"{process}{number}")
                    if (process, number) == ("a", 1):
                        stuck.set()
                        await anyio.sleep_forever()
                    return encoded({"by": process, "number": number})

                await run.step(f"step {number}", step)
            return TaskResult(await run.step("last", lambda: answer_of(process)))

        return work

    async with working(server, body("a")) as first:
        task = await created(server)
        await stuck.wait()
        await cancel_and_forget(first)
        async with working(server, body("b")):
            ended = await reached(server, task, "completed")
    assert done == ["a0", "a1", "b1", "b2"]
    assert await server.tasks.store.value(ended, ended.result) == b'"b"'


async def test_the_lease_of_a_process_that_hangs_is_taken_over_and_its_result_refused(server: ServerTasks) -> None:
    """The first worker's claim is not extended and its writes come late, as those of a process that was stopped."""
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def slow(run: TaskRun) -> Outcome:
        waiting.set()
        with anyio.CancelScope(shield=True):
            await go_on.wait()
        return TaskResult(b'"slow"')

    async def quick(run: TaskRun) -> Outcome:
        return TaskResult(b'"quick"')

    hanging = server.worker(slow)

    async def never(*_: Any) -> None:
        await anyio.sleep_forever()

    setattr(hanging, "_extend", never)  # noqa: B010  # as if its event loop did not run
    setattr(hanging, "_hear", never)  # noqa: B010
    first = asyncio.create_task(hanging.run())
    task = await created(server)
    await waiting.wait()
    async with working(server, quick):
        ended = await reached(server, task, "completed")
        go_on.set()
        await cancel_and_forget(first)
    ended = await server.tasks.get(task.id)
    assert await server.tasks.store.value(ended, ended.result) == b'"quick"'


async def test_a_task_that_ends_its_process_five_times_is_not_run_again(server: ServerTasks) -> None:
    deaths = 0

    async def body(run: TaskRun) -> Outcome:
        nonlocal deaths
        deaths += 1
        for task in list(worker._supervising):  # as by kill -9: nothing is stored or given back
            task.cancel()
        await anyio.sleep_forever()
        raise AssertionError

    worker = server.worker(body)
    running = asyncio.create_task(worker.run())
    ended = await reached(server, await created(server), "failed")
    await cancel_and_forget(running)
    assert deaths == 5
    assert "5 times" in ended.message


async def test_waiting_for_an_answer_ends_the_run_and_holds_no_coroutine(server: ServerTasks) -> None:
    runs: list[str] = []

    async def body(run: TaskRun) -> Outcome:
        runs.append(run.token)
        first, second = await asyncio.gather(run.input("first", QUESTION), run.input("second", QUESTION))
        return TaskResult(encoded([first, second]))

    async with working(server, body):
        task = await created(server)
        waiting = await reached(server, task, "input_required")
        assert set(waiting.outstanding) == {"first", "second"}
        assert not [each for each in asyncio.all_tasks() if "input" in repr(each.get_coro())]
        await server.tasks.answer(task.id, "", {"first": YES, "unknown": {}}, no_check)
        assert set((await server.tasks.get(task.id)).outstanding) == {"second"}
        await server.tasks.answer(task.id, "", {"first": {"action": "decline"}, "second": YES}, no_check)
        ended = await reached(server, task, "completed")
    assert json.loads(await server.tasks.store.value(ended, ended.result)) == [YES, YES]
    assert len(runs) == 2


async def test_a_step_under_way_is_finished_before_a_run_is_parked(server: ServerTasks) -> None:
    steps: list[str] = []

    async def body(run: TaskRun) -> Outcome:
        async def slow() -> bytes:
            await anyio.sleep(0.2)
            steps.append(run.token)
            return b"1"

        await asyncio.gather(run.step("slow", slow), run.input("colour", QUESTION))
        return TaskResult(b"{}")

    async with working(server, body):
        task = await created(server)
        await reached(server, task, "input_required")
        assert len(steps) == 1
        await server.tasks.answer(task.id, "", {"colour": YES}, no_check)
        await reached(server, task, "completed")
    assert len(steps) == 1


async def test_cancellation_ends_a_run_at_its_next_await(server: ServerTasks) -> None:
    running, cleaned = asyncio.Event(), asyncio.Event()

    async def body(run: TaskRun) -> Outcome:
        running.set()
        try:
            await anyio.sleep_forever()
        finally:
            assert run.cancelled
            cleaned.set()
        raise AssertionError

    async with working(server, body):
        task = await created(server)
        await running.wait()
        assert (await server.tasks.cancel(task.id)).status == "working"
        ended = await reached(server, task, "cancelled")
        assert cleaned.is_set()
        assert await server.tasks.cancel(task.id) == ended


async def test_a_task_that_nobody_runs_is_cancelled_at_once(server: ServerTasks) -> None:
    queued = await created(server)
    assert (await server.tasks.cancel(queued.id)).status == "cancelled"

    async def body(run: TaskRun) -> Outcome:
        if run.record.id == queued.id:
            raise AssertionError
        await run.input("colour", QUESTION)
        raise AssertionError

    async with working(server, body):
        waiting = await reached(server, await created(server), "input_required")
        assert (await server.tasks.cancel(waiting.id)).status == "cancelled"
        late = await server.tasks.answer(waiting.id, "", {"colour": YES}, no_check)
        assert late.status == "cancelled"


async def test_a_client_finds_only_its_own_tasks(server: ServerTasks) -> None:
    task = await created(server, client="a")
    for client, wanted in (("b", task.id), ("", task.id), ("a", "no id"), ("a", task.id[:-1] + "*"), ("a", ">")):
        with pytest.raises(TaskNotFoundError):
            await server.tasks.get(wanted, client)
        with pytest.raises(TaskNotFoundError):
            await server.tasks.cancel(wanted, client)


async def test_a_task_expires_with_its_lifetime(server: ServerTasks) -> None:
    task = await created(server, ttl_ms=1_000)

    async def gone() -> bool:
        try:
            await server.tasks.get(task.id)
        except TaskNotFoundError:
            return True
        return False

    await until(gone, "the task to expire")


async def test_a_large_result_is_kept_as_a_body(server: ServerTasks, plane: Plane) -> None:
    large = encoded("x" * 3_000_000)

    async def body(run: TaskRun) -> Outcome:
        assert await run.step("large", lambda: answer_of("x" * 3_000_000)) == large
        return TaskResult(large)

    async with working(server, body):
        ended = await reached(server, await created(server), "completed")
    assert await server.tasks.store.value(ended, ended.result) == large
    shown = await plane.tasks.show(ended.id)
    assert [step["step"] for step in shown["steps"]] == ["large"]
    assert len(shown["result"]) == 3_000_000


async def test_a_deferred_run_comes_again(server: ServerTasks) -> None:
    attempts: list[int] = []

    async def body(run: TaskRun) -> Outcome:
        attempts.append(1)
        return TaskDeferred(0.05) if len(attempts) < 3 else TaskResult(b"{}")

    async with working(server, body):
        ended = await reached(server, await created(server), "completed")
    assert (len(attempts), ended.deaths) == (3, 0)


async def test_names_of_steps_and_keys_of_questions_are_used_once(server: ServerTasks) -> None:
    errors: list[str] = []

    async def body(run: TaskRun) -> Outcome:
        await run.step("one", lambda: answer_of(1))
        for name in ("one", "", "x" * 129):
            with pytest.raises(TaskError) as caught:
                await run.step(name, lambda: answer_of(2))
            errors.append(str(caught.value))
        with pytest.raises(TaskError):
            await asyncio.gather(run.input("a", QUESTION), run.input("a", QUESTION | {"params": {}}))
        return TaskResult(b"{}")

    async with working(server, body):
        await reached(server, await created(server), "completed")
    assert "have the name 'one'" in errors[0]


async def test_every_process_hears_of_changes_by_one_subscription(server: ServerTasks, settings: Settings) -> None:
    async def body(run: TaskRun) -> Outcome:
        await run.say("half")
        return TaskResult(b"{}")

    async with Plane.connect(settings) as other:
        elsewhere = other.tasks.of_server(server.tasks.server)
        async with elsewhere.watch.news() as news:
            task = await created(server)
            news.add(task.id)
            async with working(server, body):
                with anyio.fail_after(30):
                    while (await elsewhere.tasks.get(task.id)).status != "completed":
                        assert await news.next() == {task.id}
