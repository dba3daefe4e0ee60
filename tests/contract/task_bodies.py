"""What the tests of tasks share: workers with functions of their own, and what becomes of a task."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from broker_plane.plane.durable_tasks.run import TaskRun
from broker_plane.plane.durable_tasks.worker import Outcome
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.tasks import ServerTasks
from broker_plane.testing.processes import until
from broker_plane.wire.tasks import TaskRecord

Body = Callable[[TaskRun], Awaitable[Outcome]]
QUESTION = {"method": "elicitation/create", "params": {"mode": "form", "message": "Which?"}}
YES = {"action": "accept", "content": {"colour": "red"}}


def no_check(*_: Any) -> None:
    """Every answer is accepted."""


@asynccontextmanager
async def working(server: ServerTasks, body: Body, **options: Any) -> AsyncIterator[asyncio.Task[None]]:
    """A worker for the time of the block."""
    worker = asyncio.create_task(server.worker(body, **options).run())
    try:
        yield worker
    finally:
        await cancel_and_forget(worker)


async def created(server: ServerTasks, **options: Any) -> TaskRecord:
    return await server.tasks.create("tool", b'{"call":1}', **({"ttl_ms": 60_000} | options))


async def reached(server: ServerTasks, task: TaskRecord, *statuses: str) -> TaskRecord:
    """The task, once it has one of the statuses."""
    found = task

    async def there() -> bool:
        nonlocal found
        found = await server.tasks.get(task.id, task.client)
        return found.status in statuses

    await until(there, f"the task to be {statuses}")
    return found


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()
