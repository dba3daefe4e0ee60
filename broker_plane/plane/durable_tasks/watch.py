"""The readers in this process that wait for changes of tasks: one subscription serves all of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, suppress

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.durable_tasks.ports import TaskStore
from broker_plane.plane.tasks import cancel_and_forget

_PAUSE_SECONDS = 0.5


class TaskNews:
    """Tasks of interest to one reader. Several changes of a task become one, so a slow reader costs no memory."""

    def __init__(self, watch: TaskWatch) -> None:
        self._watch = watch
        self._ids: set[str] = set()
        self._changed: set[str] = set()
        self._arrived = asyncio.Event()

    def add(self, task_id: str) -> None:
        self._ids.add(task_id)
        self._watch.readers[task_id].add(self)

    def discard(self, task_id: str) -> None:
        self._ids.discard(task_id)
        self._changed.discard(task_id)
        readers = self._watch.readers.get(task_id, set())
        readers.discard(self)
        if not readers:
            self._watch.readers.pop(task_id, None)

    def heard(self, task_id: str) -> None:
        self._changed.add(task_id)
        self.wake()

    def wake(self) -> None:
        """Let `next` return, with whatever has changed."""
        self._arrived.set()

    async def next(self) -> set[str]:
        """Wait until a task has changed, or for `wake`, and return those that have changed."""
        await self._arrived.wait()
        self._arrived.clear()
        changed, self._changed = self._changed, set()
        return changed

    def close(self) -> None:
        for task_id in list(self._ids):
            self.discard(task_id)


class TaskWatch:
    """Listens to the changes of a server's tasks while anybody in this process reads them."""

    def __init__(self, store: TaskStore, server: str) -> None:
        self.readers: defaultdict[str, set[TaskNews]] = defaultdict(set)
        self._store = store
        self._server = server
        self._open = 0
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @asynccontextmanager
    async def news(self, task_ids: Iterable[str] = ()) -> AsyncIterator[TaskNews]:
        """Changes after the begin of the block are heard; what was before it is loaded by the reader itself."""
        reader = TaskNews(self)
        self._open += 1
        if self._task is None:
            self._listening.clear()
            self._task = asyncio.create_task(self._listen())
        try:
            for task_id in task_ids:
                reader.add(task_id)
            await self._listening.wait()
            yield reader
        finally:
            reader.close()
            self._open -= 1
            if not self._open and self._task is not None:
                task, self._task = self._task, None
                await cancel_and_forget(task)

    async def _listen(self) -> None:
        while True:
            with suppress(BrokerPlaneError):
                async with aclosing(self._store.changes(self._server)) as changes:
                    async for task_id in changes:
                        self._announce([task_id] if task_id else list(self.readers))
                        self._listening.set()
            await asyncio.sleep(_PAUSE_SECONDS)

    def _announce(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            for reader in self.readers.get(task_id, ()):
                reader.heard(task_id)
