"""Runs the tasks of one server in this process: claims their work, extends the leases, and stores how each run ends.

The lease decides who gets the work, and the record's holder who may write. A process that was cut off goes on in
memory; what it completes is stored if nobody has taken the task over meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, ConflictError
from broker_plane.plane.durable_tasks import transitions
from broker_plane.plane.durable_tasks.ports import CALL
from broker_plane.plane.durable_tasks.run import Change, TaskRun
from broker_plane.plane.durable_tasks.tasks import DurableTasks
from broker_plane.plane.durable_tasks.watch import TaskNews, TaskWatch
from broker_plane.plane.exchanges.ports import Claim, WorkQueue
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.wire.json_rpc import INTERNAL_ERROR
from broker_plane.wire.names import encode_id
from broker_plane.wire.tasks import TaskRecord

log = redacted_logger(__name__)

SWEEP_SECONDS = 300.0
_EXTENSIONS = 3
"""Extensions in one lease."""

_STOP_SECONDS = 5.0
"""How long a run may take to end when the process stops; after that its lease ends by itself."""

_TOKEN_BYTES = 12
_AGAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The run has a result: the JSON text of the result of the request."""

    value: bytes


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """The run ended with a JSON-RPC error."""

    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TaskDeferred:
    """The run cannot be finished now; the work is given back for this time."""

    seconds: float


Outcome = TaskResult | TaskFailure | TaskDeferred
After = Literal["done", "leave"] | float
"""What becomes of the work of a run that has ended; a number gives it back for so many seconds."""

Execute = Callable[[TaskRun], Awaitable[Outcome]]


class TaskWorker:
    """At most `most` tasks run at once, each by `execute`."""

    def __init__(
        self,
        tasks: DurableTasks,
        queue: WorkQueue,
        watch: TaskWatch,
        execute: Execute,
        *,
        most: int,
        lease_seconds: float,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._tasks = tasks
        self._queue = queue
        self._watch = watch
        self._execute = execute
        self._most = most
        self._lease_seconds = lease_seconds
        self._random_bytes = random_bytes
        self._running: dict[str, tuple[TaskRun, Claim]] = {}
        self._supervising: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until this is cancelled; then unfinished work is given back, and another process has it at once."""
        async with self._watch.news() as news:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._claim(news))
                    group.create_task(self._extend())
                    group.create_task(self._hear(news))
                    group.create_task(self._sweep())
            finally:
                await self._stop()

    async def _claim(self, news: TaskNews) -> None:
        async with aclosing(self._queue.claims(lambda: self._most - len(self._supervising))) as claims:
            async for claim in claims:
                task = asyncio.create_task(self._work(claim, news))
                self._supervising.add(task)
                task.add_done_callback(self._supervising.discard)

    async def _work(self, claim: Claim, news: TaskNews) -> None:
        task_id, number = claim.subject.split(".")[-2:]
        news.add(task_id)  # before its record is read: no change falls in between
        try:
            run = await self._begin(claim, task_id, int(number))
            if run is not None:
                await self._supervise(run)
        except BrokerPlaneError as error:
            log.warning("Task %s could not be worked on: %s", task_id, error.brief)
            with suppress(BrokerPlaneError):
                await claim.again(_AGAIN_SECONDS)
        finally:
            if task_id not in self._running:
                news.discard(task_id)

    async def _begin(self, claim: Claim, task_id: str, number: int) -> TaskRun | None:
        """Take the record of claimed work. None: there is nothing to run."""
        store, tasks = self._tasks.store, self._tasks
        token = encode_id(self._random_bytes(_TOKEN_BYTES))
        while True:
            record, revision = await store.load(tasks.server, task_id)
            if record is None or not tasks.now() < record.expires:
                await claim.done()
                return None
            if task_id in self._running:
                await self._adopt(claim, record)
                return None
            first = not record.holder and claim.attempt == 1 and number == 1
            steps = set() if first else await store.kept(record, "step")
            taken = transitions.claimed(record, number, token, len(steps))
            if taken is None:
                await claim.done()
                return None
            call = await store.value(record, CALL)
            with suppress(ConflictError):
                revision = await store.save(taken, revision)
                run = TaskRun(store, taken, revision, call, steps, now=tasks.now)
                self._running[task_id] = run, claim
                return run

    async def _adopt(self, claim: Claim, record: TaskRecord) -> None:
        """Work of a task that runs here already, because its lease ended while nobody could extend it."""
        run, _ = self._running[record.id]
        if run.token == record.holder:
            self._running[record.id] = run, claim
        else:  # taken over and given back meanwhile: this process begins again once its old run has ended
            run.stop("lost")
            await claim.again(1.0)

    async def _supervise(self, run: TaskRun) -> None:
        """Run it, and store how it ended."""
        run.body = body = asyncio.create_task(self._executed(run))
        try:
            await asyncio.wait({body})
            after = await self._settled(run, body)
        finally:
            body.cancel()
            _, claim = self._running.pop(run.record.id)
        if after == "leave":  # the work is that of another process
            return
        with suppress(BrokerPlaneError):  # the work is then delivered once more, and found to be done
            await (claim.done() if after == "done" else claim.again(after))

    async def _executed(self, run: TaskRun) -> Outcome:
        if run.record.cancel:
            raise asyncio.CancelledError
        if run.record.deaths >= transitions.MAX_DEATHS:
            message = f"This task has ended its process {run.record.deaths} times, and is not run again"
            return TaskFailure({"code": INTERNAL_ERROR, "message": message})
        return await self._execute(run)

    async def _settled(self, run: TaskRun, body: asyncio.Task[Outcome]) -> After:
        """Store how a run ended, and return what is to become of its work."""
        now = self._tasks.now
        if run.end == "parked":
            return await _stored(run, lambda record: transitions.parked(record, run.token, run.asked, now()))
        if run.end in ("lost", "expired"):
            return "leave" if run.end == "lost" else "done"
        if body.cancelled():
            if run.cancelled:
                return await _stored(run, lambda record: transitions.stopped(record, run.token, now()))
            if run.end == "stopping":
                return await _given_back(run, 0.0, now())
        error = asyncio.CancelledError() if body.cancelled() else body.exception()
        outcome = body.result() if error is None else _internal(run, error)
        if isinstance(outcome, TaskDeferred):
            return await _given_back(run, outcome.seconds, now())
        if isinstance(outcome, TaskFailure):
            return await _stored(run, lambda record: transitions.failed(record, run.token, outcome.error, now()))
        name = f"result.{run.token}"
        await run.until_stored(lambda: self._tasks.store.keep(run.record, name, outcome.value))
        return await _stored(run, lambda record: transitions.completed(record, run.token, name, now()))

    async def _extend(self) -> None:
        """Extend the leases of all running tasks, and end those that have expired."""
        while True:
            await anyio.sleep(self._lease_seconds / _EXTENSIONS)
            now = self._tasks.now()
            for run, claim in list(self._running.values()):
                if not now < run.record.expires:
                    run.stop("expired")
                    continue
                with suppress(BrokerUnavailableError):
                    await claim.extend()

    async def _hear(self, news: TaskNews) -> None:
        """End runs that a client has cancelled, or that another process has taken over."""
        while True:
            for task_id in await news.next():
                if task_id in self._running:
                    run, _ = self._running[task_id]
                    with suppress(BrokerPlaneError):
                        await run.reload()

    async def _sweep(self) -> None:
        while True:
            with suppress(BrokerPlaneError):
                await self._tasks.sweep()
            await anyio.sleep(SWEEP_SECONDS)

    async def _stop(self) -> None:
        for run, _ in self._running.values():
            run.stop("stopping")
        if self._supervising:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(self._supervising, timeout=_STOP_SECONDS)
        for task in list(self._supervising):
            await cancel_and_forget(task)


async def _stored(run: TaskRun, change: Change) -> After:
    return "done" if await run.change(change) else "leave"


async def _given_back(run: TaskRun, seconds: float, now: float) -> After:
    stored = await run.change(lambda record: transitions.released(record, run.token, now))
    return "leave" if not stored else "done" if run.record.ended else seconds


def _internal(run: TaskRun, error: BaseException | None) -> TaskFailure:
    log.error("The task %s of the tool %s failed", run.record.id, run.record.tool, exc_info=error)
    return TaskFailure({"code": INTERNAL_ERROR, "message": "The server failed to run this task"})
