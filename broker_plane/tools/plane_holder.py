"""One plane a process for any number of MCP sessions: connected at its first use, closed after the last session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio.to_thread

from broker_plane.config import Settings

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane


class PlaneHolder:
    """Holds the plane in a task of its own, because each MCP session begins and ends in another task."""

    def __init__(self, settings: Settings | None) -> None:
        self._settings = settings
        self._sessions = 0
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[Plane] | None = None
        self._stop = asyncio.Event()

    async def plane(self) -> Plane:
        """The plane, which the first call connects.

        Raises:
            BrokerUnavailableError, ConfigError, EmbeddedError: it cannot be connected now; the next call tries again.
        """
        async with self._lock:
            if self._task is None or self._task.done():
                self._stop = asyncio.Event()
                self._ready = asyncio.get_running_loop().create_future()
                self._task = asyncio.create_task(self._run(self._ready, self._stop))
            assert self._ready is not None  # noqa: S101  # for the type checker: made with the task
            return await asyncio.shield(self._ready)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Count an MCP session for the block; the plane is closed when the last one ends."""
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1
            if not self._sessions:
                await self.close()

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            self._stop.set()
            with suppress(asyncio.CancelledError):
                await asyncio.shield(task)

    async def _run(self, ready: asyncio.Future[Plane], stop: asyncio.Event) -> None:
        try:
            plane_class = await anyio.to_thread.run_sync(_plane_class)
            async with plane_class.connect(self._settings) as plane:
                ready.set_result(plane)
                await stop.wait()
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)


def _plane_class() -> type[Plane]:
    """Import Plane at the first connect, in a thread: it takes 300 ms, which delays no start or session."""
    from broker_plane.runtime.plane import Plane

    return Plane
