"""The tasks of one server, as its clients use them: create, get, answer, cancel.

A task is stored before its work is queued, and the work has the number of the run, so it can be queued any number of
times. A process that dies in between leaves a task without work, and so does an operator who purges the queue: the next
look at it, or the next sweep of any process, queues it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from hashlib import sha256
from math import ceil
from typing import Any

from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    ConflictError,
    KeyReusedError,
    TaskNotFoundError,
)
from broker_plane.plane.durable_tasks import transitions
from broker_plane.plane.durable_tasks.parts import content_of, store_part
from broker_plane.plane.durable_tasks.ports import CALL, TaskStore
from broker_plane.plane.exchanges.ports import WorkQueue
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.wire.exact_json import dumps
from broker_plane.wire.names import encode_id
from broker_plane.wire.plane_names import Names
from broker_plane.wire.tasks import DamagedTask, TaskPart, TaskRecord, is_task_id, task_id

log = redacted_logger(__name__)

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
        self._working: dict[str, int] = {}
        """The tasks that were working then, with the numbers of their runs."""

    async def create(
        self,
        tool: str,
        call: bytes,
        *,
        client: str = "",
        ttl_ms: int,
        key: str = "",
        same: Callable[[bytes], bool] = lambda stored: True,
    ) -> TaskRecord:
        """Store a task with its call, then queue its work. It can be found by any process on return.

        With a `key`, a second call of the same client under it returns the same task, if the stored call is the `same`.

        Raises:
            KeyReusedError: the key names another call. StoreFullError, BrokerUnavailableError: it is not known whether
            there is a task; the same key finds it.
        """
        now = self.now()
        new = task_id(self._random_bytes(_RANDOM_BYTES))
        if key:
            digest = encode_id(sha256(dumps([client, key])).digest())
            # A task that has ended may be kept for longer than its lifetime, and its key as long.
            new = await self.store.identify(self.server, digest, new, ceil((ttl_ms + transitions.KEPT_MS) / 1000))
            found, _ = await self.store.load(self.server, new)
            if found is not None:
                _check(same(await self.store.value(found, CALL)))
                return await self._queued(found)
        record = TaskRecord(
            id=new, server=self.server, tool=tool, client=client, created=now, updated=now, ttl_ms=ttl_ms
        )
        stored = await self.store.keep(record, CALL, call)
        _check(stored == call or same(stored))  # that of a task whose record was removed
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
        answers: Mapping[str, Any],
        check: Callable[[str, dict[str, Any], Any], None],
    ) -> TaskRecord:
        """Answer outstanding questions; others are ignored. `check` is called with key, question and answer of each.

        Raises:
            TaskNotFoundError. The error of `check`: nothing is stored then.
        """

        while True:
            before, revision = await self._load(wanted, client)
            parts = await self._checked(before, answers, check)
            after = transitions.answered(before, parts, self.now())
            with suppress(ConflictError):
                return await self._queued(await self._saved(before, after, revision))

    async def cancel(self, wanted: str, client: str = "") -> TaskRecord:
        """Ask the run to end; without a run the task has ended on return. An ended task stays as it is.

        Raises:
            TaskNotFoundError.
        """
        while True:
            before, revision = await self._load(wanted, client)
            with suppress(ConflictError):
                return await self._saved(before, transitions.cancelled(before, self.now()), revision)

    async def queue(self, record: TaskRecord) -> bool:
        """Queue the work of a task; False if it is queued already or does not need any."""
        if record.status != "working":
            return False
        seconds = max(1, ceil(record.expires - self.now()))
        subject = self._names.task_work_subject(record.server, record.id, record.run)
        # Without an answer it may be queued: then the second attempt is refused, which is as good.
        return await retry_while_retryable(
            lambda: self._queue.put(subject, b"", {}, seconds), _RETRY_SECONDS, only=BrokerUnavailableError
        )

    async def sweep(self) -> int:
        """Queue the work of every working task that has none, and return their number.

        After the first sweep, only records that were changed since the last one are read. A record that cannot be
        used is named in the log, and stops nothing.
        """
        async with aclosing(self.store.records(self.server, after=self._swept)) as records:
            async for found, revision in records:
                self._note(found)
                self._swept = revision
        if not self._working:
            return 0
        queued = await self.store.work(self.server)
        missing = [task for task, run in self._working.items() if (task, run) not in queued]
        return sum([await self._queued_anew(task) for task in missing])

    def _note(self, found: TaskRecord | DamagedTask) -> None:
        if isinstance(found, DamagedTask):
            log.warning("The task %s of %s is not run: %s", found.id, found.server, found.reason)
        if isinstance(found, TaskRecord) and found.status == "working":
            self._working[found.id] = found.run
        else:
            self._working.pop(found.id, None)

    async def _queued_anew(self, task: str) -> bool:
        """Whether the work of a task, whose record may have changed meanwhile, was missing and is queued now."""
        try:
            record, _ = await self.store.load(self.server, task)
            if record is None or not self.now() < record.expires:
                del self._working[task]
                return False
            return await self.queue(record)
        except BrokerPlaneError as error:
            log.warning("The work of the task %s could not be queued: %s", task, error.brief)
            return False

    async def _checked(
        self,
        record: TaskRecord,
        answers: Mapping[str, Any],
        check: Callable[[str, dict[str, Any], Any], None],
    ) -> dict[str, TaskPart]:
        """The answers to open questions, all checked, then stored."""
        if record.status != "input_required":
            return {}
        given = {key: answers[key] for key in record.outstanding if key in answers}
        for key, answer in given.items():
            check(key, await content_of(self.store, record, record.inputs[key].request), answer)
        return {key: await store_part(self.store, record, "answer", answer) for key, answer in given.items()}

    async def _queued(self, record: TaskRecord) -> TaskRecord:
        """Queue the work of a stored task; where that fails, a later look or a sweep does it."""
        with suppress(BrokerPlaneError):
            await self.queue(record)
        return record

    async def _saved(self, before: TaskRecord, after: TaskRecord, revision: int) -> TaskRecord:
        if after != before:
            await self.store.save(after, revision)
        return after

    async def _load(self, wanted: str, client: str) -> tuple[TaskRecord, int]:
        record, revision = await self.store.load(self.server, wanted) if is_task_id(wanted) else (None, 0)
        if record is None or record.client != client or not self.now() < record.expires:
            raise TaskNotFoundError(_UNKNOWN)
        return record, revision


def _check(same: bool) -> None:
    if not same:
        raise KeyReusedError("This idempotency key names another call; use another key for this one")
