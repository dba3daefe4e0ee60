"""`plane.tasks`: the durable tasks of this plane (docs/tasks.md), for their servers and for operators."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any

from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, TaskNotFoundError
from broker_plane.plane.durable_tasks.run import step_head
from broker_plane.plane.durable_tasks.tasks import DurableTasks
from broker_plane.plane.durable_tasks.watch import TaskWatch
from broker_plane.plane.durable_tasks.worker import Execute, TaskWorker
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.layout import ensure_task_work
from broker_plane.storage.tasks import NatsTasks
from broker_plane.storage.work_queue import NatsWorkQueue
from broker_plane.wire.exact_json import loads
from broker_plane.wire.tasks import TaskRecord, detailed_fields, is_task_id, server_token

MAX_LISTED = 10_000
_Records = list[TaskRecord]
_Steps = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ServerTasks:
    """The tasks of one server: its clients' side, what hears of changes, and the queue of work."""

    tasks: DurableTasks
    watch: TaskWatch
    queue: NatsWorkQueue
    settings: Settings

    def worker(self, execute: Execute) -> TaskWorker:
        """What runs the tasks in this process while its `run` is awaited."""
        return TaskWorker(
            self.tasks,
            self.queue,
            self.watch,
            execute,
            most=self.settings.max_running_tasks,
            lease_seconds=self.settings.task_lease_seconds,
            random_bytes=token_bytes,
        )


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
        """Return the tasks of one server, or of all, in the order of their last change; at most the last 10,000."""
        found: list[TaskRecord] = []
        async with aclosing(self._store.records(server_token(server) if server else "*")) as records:
            async for record, _ in records:
                if status in ("", record.status):
                    found.append(record)
                    if len(found) >= 2 * MAX_LISTED:
                        found = found[-MAX_LISTED:]
        return found[-MAX_LISTED:]

    async def get(self, task_id: str) -> TaskRecord:
        """Return a task of any server and client.

        Raises:
            TaskNotFoundError: there is none, or no longer.
        """
        if is_task_id(task_id):
            async with aclosing(self._store.records(task_id=task_id)) as records:
                async for record, _ in records:
                    return record
        raise TaskNotFoundError(f"There is no task {task_id[:64]}; `broker-plane tasks ls` lists those that there are")

    async def show(self, task_id: str) -> dict[str, Any]:
        """Return a task as its client sees it, with its server, tool, client and completed steps.

        Raises:
            TaskNotFoundError: there is none, or no longer.
        """
        record = await self.get(task_id)
        result = loads(await self._store.value(record, record.result)) if record.result else None
        return {
            "server": record.server,
            "tool": record.tool,
            "client": record.client,
            "run": record.run,
            "running": bool(record.holder),
            "cancelRequested": record.cancel,
            **detailed_fields(record, result, self._wiring.now()),
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
                steps.append(loads(step_head(await self._store.value(record, name))))
            except BrokerPlaneError:  # it has expired meanwhile
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
