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
from broker_plane.plane.durable_tasks.run import END_SECONDS, Change, TaskRun
from broker_plane.plane.durable_tasks.tasks import DurableTasks
from broker_plane.plane.durable_tasks.watch import TaskNews, TaskWatch
from broker_plane.plane.exchanges.ports import Claim, WorkQueue
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.wire.json_rpc import INTERNAL_ERROR
from broker_plane.wire.names import encode_id
from broker_plane.wire.tasks import TaskRecord

log = redacted_logger(__name__)

SWEEP_SECONDS = 60.0
_EXTENSIONS = 3
"""Extensions in one lease."""

_STOP_SECONDS = 5.0
"""How long a run may take to end when the process stops; after that its lease ends by itself."""

_TOKEN_BYTES = 12
_AGAIN_SECONDS, _LONGEST_AGAIN_SECONDS = 5.0, 300.0
"""When work that could not be begun or ended comes again: of a damaged task each time twice as late."""

_DOUBLINGS = 6


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
    """At most `most` tasks run at once, each by `execute`. A function that goes on `end_seconds` after its cancellation
    loses its place.
    """

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
        end_seconds: float = END_SECONDS,
    ) -> None:
        self._tasks = tasks
        self._queue = queue
        self._watch = watch
        self._execute = execute
        self._most = most
        self._lease_seconds = lease_seconds
        self._random_bytes = random_bytes
        self._end_seconds = end_seconds
        self._running: dict[str, tuple[TaskRun, Claim]] = {}
        self._supervising: set[asyncio.Task[None]] = set()
        self._abandoned: set[asyncio.Task[Outcome]] = set()

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
        """Run claimed work, and let nothing about its task stop the others."""
        task_id, number = claim.subject.split(".")[-2:]
        news.add(task_id)  # before its record is read: no change falls in between
        try:
            run = await self._begin(claim, task_id, int(number))
            if run is not None:
                await self._supervise(run)
        except Exception as error:
            known = error if isinstance(error, BrokerPlaneError) else None
            why = f"{known} [{known.brief}]" if known else repr(error)
            log.warning("The task %s could not be worked on: %s", task_id, why, exc_info=known is None)
            with suppress(BrokerPlaneError):
                await claim.again(_AGAIN_SECONDS if known and known.retryable else _later(claim.attempt))
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
            steps = await store.kept(record, "step") if record.begun else set()
            taken = transitions.claimed(record, number, token, len(steps))
            if taken is None:
                await claim.done()
                return None
            call = await store.value(record, CALL)
            with suppress(ConflictError):
                revision = await store.save(taken, revision)
                run = TaskRun(store, taken, revision, call, steps, now=tasks.now, end_seconds=self._end_seconds)
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
            ends: set[asyncio.Future[Any]] = {body, run.abandoned}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not body.done():
                self._abandon(run, body)
            after = await self._settled(run, body)
        finally:
            body.cancel()
            _, claim = self._running.pop(run.record.id)
        if after == "leave":  # the work is that of another process
            return
        with suppress(BrokerPlaneError):  # the work is then delivered once more, and found to be done
            await (claim.done() if after == "done" else claim.again(after))

    def _abandon(self, run: TaskRun, body: asyncio.Task[Outcome]) -> None:
        """Give up a function that has caught its cancellation. Nobody can end it; it only loses its place here."""
        self._abandoned.add(body)
        body.add_done_callback(self._forget)
        log.error(
            "The tool %s goes on %.0f seconds after its task %s was cancelled: it catches asyncio.CancelledError. Its "
            "run ends without it; %d such functions go on in this process",
            *(run.record.tool, self._end_seconds, run.record.id, len(self._abandoned)),
        )

    def _forget(self, body: asyncio.Task[Outcome]) -> None:
        self._abandoned.discard(body)
        if not body.cancelled():
            body.exception()  # retrieved: nobody waits for it

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
        if run.end in ("lost", "expired"):
            return "leave" if run.end == "lost" else "done"
        try:
            if run.end == "parked":
                return await _parked(run, now())
            if not body.done() or body.cancelled():
                if run.cancelled:
                    return await _stored(run, lambda record: transitions.stopped(record, run.token, now()))
                if run.end == "stopping":
                    return await _given_back(run, 0.0, now())
            return await _ended(run, _outcome(run, body), now())
        except Exception as error:
            if not now() < run.record.expires:
                return "done"
            if isinstance(error, BrokerPlaneError) and error.retryable:
                raise
            return await _ended(run, _unstorable(run, error), now())

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
                    with suppress(BrokerPlaneError):
                        await self._running[task_id][0].reload()

    async def _sweep(self) -> None:
        while True:
            try:
                await self._tasks.sweep()
            except BrokerUnavailableError:
                pass
            except Exception:
                log.exception("Tasks without work were not looked for; it is tried again in %.0f s", SWEEP_SECONDS)
            await anyio.sleep(SWEEP_SECONDS)

    async def _stop(self) -> None:
        for run, _ in self._running.values():
            run.stop("stopping")
        if self._supervising:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(self._supervising, timeout=_STOP_SECONDS)
        for task in list(self._supervising):
            await cancel_and_forget(task)


def _later(attempt: int) -> float:
    return min(_AGAIN_SECONDS * (1 << min(attempt - 1, _DOUBLINGS)), _LONGEST_AGAIN_SECONDS)


async def _parked(run: TaskRun, now: float) -> After:
    asked = {key: await run.keep_part("ask", request) for key, request in run.asked.items()}
    return await _stored(run, lambda record: transitions.parked(record, run.token, asked, now))


async def _ended(run: TaskRun, outcome: Outcome, now: float) -> After:
    if isinstance(outcome, TaskDeferred):
        return await _given_back(run, outcome.seconds, now)
    if isinstance(outcome, TaskFailure):
        error, message = await run.keep_part("error", outcome.error), str(outcome.error.get("message", ""))
        return await _stored(run, lambda record: transitions.failed(record, run.token, error, message, now))
    name = f"result.{run.token}"
    await run.keep(name, outcome.value)
    return await _stored(run, lambda record: transitions.completed(record, run.token, name, now))


async def _stored(run: TaskRun, change: Change) -> After:
    return "done" if await run.settle(change) else "leave"


async def _given_back(run: TaskRun, seconds: float, now: float) -> After:
    stored = await run.settle(lambda record: transitions.released(record, run.token, now))
    return "leave" if not stored else "done" if run.record.ended else seconds


def _outcome(run: TaskRun, body: asyncio.Task[Outcome]) -> Outcome:
    if not body.done() or body.cancelled():
        return _internal(run, asyncio.CancelledError())
    error = body.exception()
    return body.result() if error is None else _internal(run, error)


def _internal(run: TaskRun, error: BaseException) -> TaskFailure:
    log.error("The task %s of the tool %s failed", run.record.id, run.record.tool, exc_info=error)
    return TaskFailure({"code": INTERNAL_ERROR, "message": "The server failed to run this task"})


def _unstorable(run: TaskRun, error: Exception) -> TaskFailure:
    log.error("How the task %s of the tool %s ended cannot be stored", run.record.id, run.record.tool, exc_info=error)
    named = error if isinstance(error, BrokerPlaneError) else None
    why = str(named) if named else "The server failed to store how this task ended"
    data = {"code": named.code} if named else {}
    return TaskFailure({"code": INTERNAL_ERROR, "message": why, "data": data})
