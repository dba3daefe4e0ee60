"""The tasks of one server, as its clients use them: create, get, answer, cancel.

A task is stored before its work is queued, and the work has the number of the run, so it can be queued any number of
times. A process that dies in between leaves a task without work: the next look at it, or the next sweep of any process,
queues it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from hashlib import sha256
from math import ceil
from typing import Any

from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, ConflictError, TaskNotFoundError
from broker_plane.plane.durable_tasks import transitions
from broker_plane.plane.durable_tasks.ports import CALL, TaskStore
from broker_plane.plane.exchanges.ports import WorkQueue
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.wire.names import encode_id
from broker_plane.wire.plane_names import Names
from broker_plane.wire.tasks import TaskRecord, is_task_id, task_id

IDLE_SECONDS = 2.0
"""Work that nobody has begun after this time is queued once more."""

_RANDOM_BYTES = 18
_RETRY_SECONDS = 2.0
_UNKNOWN = "No such task: it has expired, or was created by another client. Call the tool again"


class DurableTasks:
    """The tasks of `server` (a subject token). `now` is nats-server's time in unix seconds."""

    def __init__(
        self,
        store: TaskStore,
        queue: WorkQueue,
        server: str,
        *,
        names: Names,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.store = store
        self.server = server
        self.now = now
        self._queue = queue
        self._names = names
        self._random_bytes = random_bytes
        self._swept = 0
        """The revision of the last record that a sweep has read."""

    async def create(self, tool: str, call: bytes, *, client: str = "", ttl_ms: int, key: str = "") -> TaskRecord:
        """Store a task with its call, then queue its work. It can be found by any process on return.

        With a `key`, a second call of the same client under it returns the same task.

        Raises:
            StoreFullError, BrokerUnavailableError: it is not known whether there is a task; the same key finds it.
        """
        now = self.now()
        new = task_id(self._random_bytes(_RANDOM_BYTES))
        if key:
            digest = encode_id(sha256(f"{client}\0{key}".encode()).digest())
            new = await self.store.identify(self.server, digest, new, max(1, ttl_ms // 1000))
            found, _ = await self.store.load(self.server, new)
            if found is not None:
                return await self._queued(found)
        record = TaskRecord(
            id=new, server=self.server, tool=tool, client=client, created=now, updated=now, ttl_ms=ttl_ms
        )
        await self.store.keep(record, CALL, call)
        try:
            await retry_while_retryable(lambda: self.store.save(record, 0), _RETRY_SECONDS, only=BrokerUnavailableError)
        except ConflictError:  # stored by an attempt without an answer, or by another process with the same key
            record = await self.get(new, client)
        return await self._queued(record)

    async def get(self, wanted: str, client: str = "") -> TaskRecord:
        """A task of this client. If nobody has begun its work after a while, the work is queued again.

        Raises:
            TaskNotFoundError: there is none, it has expired, or it belongs to another client.
        """
        record, _ = await self._load(wanted, client)
        if record.status == "working" and not record.holder and self.now() > record.updated + IDLE_SECONDS:
            await self._queued(record)
        return record

    async def answer(
        self,
        wanted: str,
        client: str,
        answers: Mapping[str, dict[str, Any]],
        check: Callable[[str, dict[str, Any], dict[str, Any]], None],
    ) -> TaskRecord:
        """Answer outstanding questions; others are ignored. `check` is called with key, question and answer of each.

        Raises:
            TaskNotFoundError. The error of `check`: nothing is stored then.
        """

        def change(record: TaskRecord) -> TaskRecord:
            for key, request in record.outstanding.items():
                if key in answers:
                    check(key, request, answers[key])
            return transitions.answered(record, answers, self.now())

        return await self._queued(await self._change(wanted, client, change))

    async def cancel(self, wanted: str, client: str = "") -> TaskRecord:
        """Ask the run to end; without a run the task has ended on return. An ended task stays as it is.

        Raises:
            TaskNotFoundError.
        """
        return await self._change(wanted, client, lambda record: transitions.cancelled(record, self.now()))

    async def queue(self, record: TaskRecord) -> None:
        """Queue the work of a task, unless it is queued or does not need any."""
        if record.status != "working":
            return
        seconds = max(1, ceil(record.expires - self.now()))
        subject = self._names.task_work_subject(record.server, record.id, record.run)
        # Without an answer it may be queued: then the second attempt is refused, which is as good.
        await retry_while_retryable(
            lambda: self._queue.put(subject, b"", {}, seconds), _RETRY_SECONDS, only=BrokerUnavailableError
        )

    async def sweep(self) -> int:
        """Queue the work of every task that waits for a process, and return their number.

        After the first sweep, only records that were changed since the last one are read.
        """
        queued = 0
        async with aclosing(self.store.records(self.server, after=self._swept)) as records:
            async for record, revision in records:
                if record.status == "working" and not record.holder:
                    await self.queue(record)
                    queued += 1
                self._swept = revision
        return queued

    async def _queued(self, record: TaskRecord) -> TaskRecord:
        """Queue the work of a stored task; where that fails, a later look or a sweep does it."""
        with suppress(BrokerPlaneError):
            await self.queue(record)
        return record

    async def _change(self, wanted: str, client: str, change: Callable[[TaskRecord], TaskRecord]) -> TaskRecord:
        while True:
            before, revision = await self._load(wanted, client)
            after = change(before)
            if after == before:
                return after
            with suppress(ConflictError):
                await self.store.save(after, revision)
                return after

    async def _load(self, wanted: str, client: str) -> tuple[TaskRecord, int]:
        record, revision = await self.store.load(self.server, wanted) if is_task_id(wanted) else (None, 0)
        if record is None or record.client != client or not self.now() < record.expires:
            raise TaskNotFoundError(_UNKNOWN)
        return record, revision
