"""One run of a task in this process: its steps, its questions, and what is stored of it.

A run ends early by cancelling the coroutine that executes it: because it needs an answer, because a client or the
process wants it to end, or because another process has taken the task over. No coroutine waits for a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, Literal

import anyio

from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, ConflictError, StoreFullError, TaskError
from broker_plane.plane.durable_tasks import transitions
from broker_plane.plane.durable_tasks.parts import content_of, store_part
from broker_plane.plane.durable_tasks.ports import TaskStore
from broker_plane.wire.exact_json import dumps, is_unicode
from broker_plane.wire.names import encode_id
from broker_plane.wire.tasks import MAX_INPUT_BYTES, MAX_INPUTS, MAX_KEY, TaskPart, TaskRecord

MAX_STEPS = 10_000
"""Steps of one task."""

_STEP = "step"
_PARK_SECONDS = 0.02
"""How long other coroutines of the run may still begin steps and ask questions, after one has asked."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 2.0

_in_step: ContextVar[bool] = ContextVar("in_step", default=False)
"""Whether the function of a step runs: a run does not end in a step, so a question there would wait for ever."""

END_SECONDS = 30.0
"""How long the function of a run may go on after it was cancelled; then the run ends without it."""

End = Literal["parked", "cancelled", "lost", "stopping", "expired"]
Change = Callable[[TaskRecord], TaskRecord | None]


class TaskRun:
    """What the execution of a task uses. `token` identifies this run as the holder of the record."""

    def __init__(
        self,
        store: TaskStore,
        record: TaskRecord,
        revision: int,
        call: bytes,
        steps: set[str],
        *,
        now: Callable[[], float],
        end_seconds: float = END_SECONDS,
    ) -> None:
        self.record = record
        self.token = record.holder
        self.call = call
        self.end: End | None = None
        """Why the run ends early."""
        self.body: asyncio.Task[Any] | None = None
        self.abandoned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the function has not ended for `end_seconds` after its cancellation."""
        self.asked: dict[str, dict[str, Any]] = {}
        self._end_seconds = end_seconds
        self._store = store
        self._revision = revision
        self._stored = steps
        self._named: set[str] = set()
        self._questions: set[str] = set()
        self._stepping = 0
        self._now = now

    @property
    def cancelled(self) -> bool:
        """Whether a client has asked for the end of the task."""
        return self.record.cancel or self.end == "cancelled"

    def stop(self, end: End) -> None:
        """End the run early; the first reason counts."""
        if self.end is None and self.body is not None and not self.body.done():
            self.end = end
            self.body.cancel()
            timer = asyncio.get_running_loop().call_later(self._end_seconds, self._abandon)
            self.body.add_done_callback(lambda _: timer.cancel())  # it would keep the run in memory until then

    # For the function of the task.

    async def step(self, name: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The value that `make` returned when the step was first completed, by any run of the task.

        Raises:
            TaskError: a second step has that name, or there are too many. The error of `make`: a retry runs it again.
        """
        if name in self._named:
            raise TaskError(f"Two steps of this task have the name {name!r}; number them, as in f'page {{number}}'")
        if not _is_key(name) or len(self._named) >= MAX_STEPS:
            raise TaskError(f"A step has a name of 1 to {MAX_KEY} characters, and a task at most {MAX_STEPS} steps")
        self._named.add(name)
        value = f"{_STEP}.{_digest(name)}"
        self._stepping += 1
        try:
            if value in self._stored:
                return _without_head(await self.until_stored(lambda: self._store.value(self.record, value)))
            began, outside = self._now(), _in_step.set(True)
            try:
                made = await make()
            except BaseException:
                self._named.discard(name)  # the function may try it again
                raise
            finally:
                _in_step.reset(outside)
            head = dumps({"step": name, "began": began, "ended": self._now(), "run": self.token}) + b"\n"
            kept = await self.until_stored(lambda: self._store.keep(self.record, value, head + made))
            return _without_head(kept)
        finally:
            self._stepping -= 1
            self._park_soon()

    async def input(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        """The client's answer to a question. Without one the run ends, and another one begins when it has come.

        Raises:
            TaskError: this run has used the key, it asks in a step, which would not end, or the question is too large.
        """
        if _in_step.get():
            raise TaskError(f"A step asks no question: ask {key!r} before the step, and pass the answer on to it")
        if key in self._questions:
            raise TaskError(
                f"Two questions of this task have the key {key!r}; number them, as in f'try {{number}}', if each needs "
                "an answer of its own"
            )
        known = self.record.inputs.get(key)
        if known is not None and known.answer is not None:
            self._questions.add(key)
            return await self._answered(known.answer)
        if not _is_key(key) or len({*self.record.inputs, *self.asked, key}) > MAX_INPUTS:
            raise TaskError(
                f"A question has a key of 1 to {MAX_KEY} characters, and a task at most {MAX_INPUTS} of them"
            )
        if (size := len(dumps(request))) > MAX_INPUT_BYTES:
            raise TaskError(f"A question has at most {MAX_INPUT_BYTES:,} bytes as JSON; this one has {size:,}")
        self._questions.add(key)
        self.asked[key] = request
        self._park_soon()
        await asyncio.get_running_loop().create_future()  # until the run is cancelled
        raise AssertionError

    async def say(self, text: str) -> None:
        """Store how far the task is, for clients; a full store loses it."""
        with suppress(StoreFullError):
            await self.change(lambda record: transitions.with_message(record, self.token, text, self._now()))

    # For the worker.

    async def keep(self, name: str, value: bytes) -> None:
        """Store a value of the run that has ended, as soon as there is room."""
        await self.until_stored(lambda: self._store.keep(self.record, name, value), StoreFullError)

    async def keep_part(self, kind: str, content: Any) -> TaskPart:
        """A part of the record of the run that has ended, stored as soon as there is room."""
        part: TaskPart = await self.until_stored(
            lambda: store_part(self._store, self.record, kind, content), StoreFullError
        )
        return part

    async def settle(self, change: Change) -> bool:
        """As `change`, as soon as there is room."""
        stored: bool = await self.until_stored(lambda: self.change(change), StoreFullError)
        return stored

    async def change(self, change: Change) -> bool:
        """Store the record as `change` makes it, also after an outage. False: another process has the task by now."""
        while True:
            after = change(self.record)
            if after is None:
                self.stop("lost")
                return False
            if after == self.record:
                return True
            try:
                self._revision = await self._store.save(after, self._revision)
                self.record = after
                return True
            except (ConflictError, BrokerUnavailableError):
                if not await self.reload():
                    return False
                if self.record == after:  # an attempt without an answer was stored
                    return True

    async def reload(self) -> bool:
        """Read the record again, and end the run if it is no longer this run's, or is to end. False: it has expired."""
        record, revision = await self.until_stored(lambda: self._store.load(self.record.server, self.record.id))
        if record is None or not self._now() < record.expires:
            self.stop("expired")
            return False
        self.record, self._revision = record, revision
        if record.holder != self.token:
            self.stop("lost")
        elif record.cancel:
            self.stop("cancelled")
        return True

    async def until_stored(self, attempt: Callable[[], Awaitable[Any]], *also: type[BrokerPlaneError]) -> Any:
        """The result of `attempt`, which is repeated for as long as the broker is away, or for an error of `also`.

        Raises:
            BrokerPlaneError: another error, or the last one, once the task has expired.
        """
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                return await attempt()
            except BrokerPlaneError as error:
                if not isinstance(error, (BrokerUnavailableError, *also)) or not self._now() < self.record.expires:
                    raise
            await anyio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    async def _answered(self, part: TaskPart) -> dict[str, Any]:
        answer: dict[str, Any] = await self.until_stored(lambda: content_of(self._store, self.record, part))
        return answer

    def _abandon(self) -> None:
        if not self.abandoned.done() and self.body is not None and not self.body.done():
            self.abandoned.set_result(None)

    def _park_soon(self) -> None:
        if self.asked and not self._stepping:
            asyncio.get_running_loop().call_later(_PARK_SECONDS, self._park)

    def _park(self) -> None:
        if not self._stepping:
            self.stop("parked")


def step_head(value: bytes) -> bytes:
    """The first line of the value of a step: which one it is, and when it was done."""
    return value.partition(b"\n")[0]


def _without_head(value: bytes) -> bytes:
    return value.partition(b"\n")[2]


def _is_key(text: str) -> bool:
    return 0 < len(text) <= MAX_KEY and is_unicode(text)


def _digest(name: str) -> str:
    return encode_id(sha256(name.encode()).digest()[:16])
