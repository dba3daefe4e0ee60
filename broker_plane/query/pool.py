"""A pool of DuckDB workers: the query engine of a bridge."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from importlib.util import find_spec
from tempfile import TemporaryDirectory

from broker_plane.errors import BrokerPlaneError, QueryUnavailableError
from broker_plane.query.engine import ArrowSource
from broker_plane.query.limits import QueryLimits
from broker_plane.query.worker import NO_ENGINE, Worker


class DuckDbPool:
    """The QueryEngine port with DuckDB: up to `workers` processes, started by the first query and kept warm.

    A worker that was killed is replaced at once. All queries of a pool have the same limits.
    """

    def __init__(self, workers: int, limits: QueryLimits) -> None:
        self._most = workers
        self._limits = limits
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._places = asyncio.Semaphore(workers)
        self._tasks: set[asyncio.Task[None]] = set()
        self._directory: TemporaryDirectory[str] | None = None

    async def run(
        self, sql: str, tables: Mapping[str, ArrowSource], limits: QueryLimits
    ) -> AsyncGenerator[bytes, None]:
        """Yield the result of `sql`; see `QueryEngine.run`. The limits of the pool count, and not `limits`."""
        async with self._places:
            worker = await self._take()
            try:
                async with aclosing(worker.run(sql, tables)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                await self._give_back(worker)

    async def warm(self) -> None:
        """Start all workers, and wait until they are ready.

        Raises:
            QueryUnavailableError: they cannot run here.
        """
        await asyncio.gather(*[self._fill() for _ in range(self._most - len(self._workers))])
        for worker in self._idle:
            await worker.ready()

    async def close(self) -> None:
        """End all workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[worker.kill() for worker in self._workers])
        self._workers.clear()
        self._idle.clear()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    async def _take(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
            self._workers.discard(worker)
        return await self._started()

    async def _give_back(self, worker: Worker) -> None:
        if worker.usable and worker.process.returncode is None:
            self._idle.append(worker)
            return
        self._workers.discard(worker)
        await asyncio.shield(worker.kill())
        task = asyncio.create_task(self._fill())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fill(self) -> None:
        with suppress(BrokerPlaneError, OSError):  # the next query starts one, and says what is wrong
            self._idle.insert(0, await self._started())

    async def _started(self) -> Worker:
        if sys.platform == "win32":
            raise QueryUnavailableError("Queries need fork(2), which Windows does not have; run the bridge on Linux")
        if find_spec("duckdb") is None or find_spec("pyarrow") is None:
            raise QueryUnavailableError(NO_ENGINE)
        if self._directory is None:
            self._directory = TemporaryDirectory(prefix="broker-plane-query-")
        worker = await Worker.start(self._limits, self._directory.name)
        self._workers.add(worker)
        return worker
