"""Runs the tasks of a server in this process, from its first MCP session to its last one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import MCPServer

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.tools.plane_holder import PlaneHolder

if TYPE_CHECKING:
    from broker_plane.runtime.tasks import ServerTasks

log = redacted_logger(__name__)

Lifespan = Callable[[MCPServer[Any]], AbstractAsyncContextManager[Any]]
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0


class TaskProcess:
    """The worker of one server's tasks. A server without task tools connects to no broker for it."""

    def __init__(self, name: str, holder: PlaneHolder, tools: Collection[str], lifespan: Lifespan | None) -> None:
        self._name = name
        self._holder = holder
        self._tools = tools
        self._lifespan = lifespan
        self._sessions = 0
        self._task: asyncio.Task[None] | None = None

    async def tasks(self) -> ServerTasks:
        """The tasks of this server. Raises as `PlaneHolder.plane`, and NotPermittedError in another role."""
        plane = await self._holder.plane()
        return plane.tasks.of_server(self._name)

    @asynccontextmanager
    async def session(self, server: MCPServer[Any]) -> AsyncIterator[None]:
        """Count an MCP session for the block; tasks run until the last one ends, and then go to other processes."""
        self._sessions += 1
        if self._task is None and self._tools:
            self._task = asyncio.create_task(self._work(server))
        try:
            yield
        finally:
            self._sessions -= 1
            if not self._sessions and self._task is not None:
                task, self._task = self._task, None
                await cancel_and_forget(task)

    async def _work(self, server: MCPServer[Any]) -> None:
        from broker_plane.mcp_server.task_execution import TaskExecution  # deferred with the plane

        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                # A lifespan of its own, because that of a session ends before the tasks do.
                async with self._lifespan(server) if self._lifespan else nullcontext() as state:
                    tasks = await self.tasks()
                    pause = _FIRST_PAUSE_SECONDS
                    await tasks.worker(TaskExecution(server, self._tools, state)).run()
            except BrokerPlaneError as error:
                log.warning("Tasks of %s do not run in this process at the moment: %s", self._name, error)
            except Exception:
                log.exception("The tasks of %s stopped in this process, and begin again", self._name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
