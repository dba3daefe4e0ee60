"""`plane.tasks`: the durable tasks of this plane (docs/tasks.md), for their servers and for operators."""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any

from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, TaskNotFoundError, WireError
from broker_plane.plane.durable_tasks.parts import detailed
from broker_plane.plane.durable_tasks.run import END_SECONDS, step_head
from broker_plane.plane.durable_tasks.tasks import DurableTasks
from broker_plane.plane.durable_tasks.watch import TaskWatch
from broker_plane.plane.durable_tasks.worker import Execute, TaskWorker
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.layout import ensure_task_work, has_tasks
from broker_plane.storage.tasks import NatsTasks
from broker_plane.storage.work_queue import NatsWorkQueue
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.tasks import DamagedTask, TaskRecord, is_task_id, server_token

MAX_LISTED = 10_000
_Records = list[TaskRecord]
_Damaged = list[DamagedTask]
_Steps = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ServerTasks:
    """The tasks of one server: its clients' side, what hears of changes, and the queue of work."""

    tasks: DurableTasks
    watch: TaskWatch
    queue: NatsWorkQueue
    settings: Settings

    def worker(self, execute: Execute, *, end_seconds: float = END_SECONDS) -> TaskWorker:
        """What runs the tasks in this process while its `run` is awaited."""
        return TaskWorker(
            self.tasks,
            self.queue,
            self.watch,
            execute,
            most=self.settings.max_running_tasks,
            lease_seconds=self.settings.task_lease_seconds,
            random_bytes=token_bytes,
            end_seconds=end_seconds,
        )


@dataclass(frozen=True, slots=True)
class TaskListing:
    """Tasks in the order of their last change, and those whose records are damaged."""

    tasks: list[TaskRecord]
    damaged: list[DamagedTask]


class Tasks:
    """The tasks of all servers of this plane. Needs the role `plane`."""

    def __init__(self, wiring: Wiring, settings: Settings) -> None:
        self._wiring = wiring
        self._settings = settings
        self._store = NatsTasks(wiring.connection, wiring.store, settings.owner)
        self._servers: dict[str, ServerTasks] = {}

    def of_server(self, name: str) -> ServerTasks:
        """The tasks of the server with this name, which all its processes share."""
        server = server_token(name)
        if server not in self._servers:
            self._servers[server] = self._made(server)
        return self._servers[server]

    async def list(self, server: str = "", status: str = "") -> _Records:
        """Return the tasks of one server, or of all, in the order of their last change; at most the last 10,000.

        Damaged ones are left out; `damaged` has them.
        """
        return (await self.listing(server, status)).tasks

    async def damaged(self, server: str = "") -> _Damaged:
        """Return the tasks of one server, or of all, whose records cannot be used, with the reasons."""
        return (await self.listing(server)).damaged if await has_tasks(self._wiring.connection) else []

    async def listing(self, server: str = "", status: str = "") -> TaskListing:
        """Return what `list` and `damaged` do, by one look."""
        tasks: deque[TaskRecord] = deque(maxlen=MAX_LISTED)
        damaged: deque[DamagedTask] = deque(maxlen=MAX_LISTED)
        async with aclosing(self._store.records(server_token(server) if server else "*")) as records:
            async for found, _ in records:
                if isinstance(found, DamagedTask):
                    damaged.append(found)
                elif status in ("", found.status):
                    tasks.append(found)
        return TaskListing([*tasks], [*damaged])

    async def get(self, task_id: str) -> TaskRecord:
        """Return a task of any server and client.

        Raises:
            TaskNotFoundError: there is none, or no longer. WireError: its record is damaged.
        """
        if is_task_id(task_id):
            async with aclosing(self._store.records(task_id=task_id)) as records:
                async for found, _ in records:
                    if isinstance(found, DamagedTask):
                        raise WireError(f"The task {found.id} of {found.server} cannot be used: {found.reason}")
                    return found
        raise TaskNotFoundError(f"There is no task {task_id[:64]}; `broker-plane tasks ls` lists those that there are")

    async def show(self, task_id: str) -> dict[str, Any]:
        """Return a task as its client sees it, with its server, tool, client and completed steps.

        Raises:
            TaskNotFoundError: there is none, or no longer.
        """
        record = await self.get(task_id)
        return {
            "server": record.server,
            "tool": record.tool,
            "client": record.client,
            "run": record.run,
            "running": bool(record.holder),
            "cancelRequested": record.cancel,
            **await detailed(self._store, record, self._wiring.now()),
            "steps": await self._steps(record),
        }

    async def cancel(self, task_id: str) -> TaskRecord:
        """Cancel a task of any client: it ends at once if nobody runs it, or when its run has ended.

        Raises:
            TaskNotFoundError: there is none, or no longer.
        """
        record = await self.get(task_id)
        return await self.of_server(record.server).tasks.cancel(record.id, record.client)

    async def _steps(self, record: TaskRecord) -> _Steps:
        steps: _Steps = []
        for name in await self._store.kept(record, "step"):
            try:
                head = loads(step_head(await self._store.value(record, name)))
                times = {each: float(head[each]) for each in ("began", "ended")}
                steps.append({"step": str(head["step"]), **times, "run": str(head["run"])})
            except (BrokerPlaneError, *MALFORMED, LookupError, TypeError, ValueError):  # it has expired, or is damaged
                continue
        return sorted(steps, key=lambda step: float(step["ended"]))

    def _made(self, server: str) -> ServerTasks:
        connection, settings = self._wiring.connection, self._settings
        queue = NatsWorkQueue(
            connection,
            stream=connection.names.task_work_stream,
            durable=f"tasks_{server}",
            subjects=[connection.names.task_work_subject(server, "*", "*")],
            ensure=lambda: ensure_task_work(connection),
            lease_seconds=settings.task_lease_seconds,
        )
        tasks = DurableTasks(
            self._store, queue, server, names=connection.names, now=self._wiring.now, random_bytes=token_bytes
        )
        return ServerTasks(tasks, TaskWatch(self._store, server), queue, settings)
