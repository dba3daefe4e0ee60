"""One worker process, from the bridge's side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from broker_plane.errors import (
    BrokerPlaneError,
    QueryFailedError,
    QueryUnavailableError,
    TooCostlyError,
    error_class,
)
from broker_plane.query import duckdb_worker
from broker_plane.query.engine import ArrowSource
from broker_plane.query.limits import QueryLimits
from broker_plane.query.messages import (
    BYTES,
    DONE,
    END,
    ERROR,
    FRAME,
    HEAD,
    MOST_ANSWER_BYTES,
    NEEDS,
    READY,
    STATEMENT,
)

_START_SECONDS = 60.0
_AHEAD_BYTES = 8 << 20
"""Bytes that are read for a worker before it takes them: it decodes while the next ones are read."""

NO_ENGINE = "This bridge has no query engine. Install it where the bridge runs: pip install 'broker-plane[query]'"


class Worker:
    """A process that answers one query at a time, each in a fresh child. `limits` hold for each of them."""

    def __init__(self, process: Process, limits: QueryLimits) -> None:
        self.process = process
        self.usable = True
        """Whether the next query may be sent to it."""
        self._limits = limits
        self._ready = False

    @classmethod
    async def start(cls, limits: QueryLimits, directory: str) -> Worker:
        """Start a process with an empty environment, in `directory`, in a session of its own."""
        root = Path(duckdb_worker.__file__).parents[2]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-P",
            duckdb_worker.__file__,
            str(root),
            str(os.getpid()),
            json.dumps(asdict(limits)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={},
            cwd=directory,
            start_new_session=True,
            limit=2 * MOST_ANSWER_BYTES,
        )
        assert process.stdin is not None  # noqa: S101  # it was started with one
        process.stdin.transport.set_write_buffer_limits(high=_AHEAD_BYTES)
        return cls(process, limits)

    async def ready(self) -> None:
        """Wait until a query can be sent. Raises QueryUnavailableError: there is no DuckDB, or it does not start."""
        if self._ready:
            return
        try:
            async with asyncio.timeout(_START_SECONDS):
                kind, _ = await self._read()
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            await self.kill()
            raise QueryUnavailableError(NO_ENGINE, reason=f"exit code {self.process.returncode}") from error
        if kind != READY:
            await self.kill()
            raise QueryUnavailableError(NO_ENGINE, reason="a worker said something else than ready")
        self._ready = True

    async def run(self, sql: str, tables: Mapping[str, ArrowSource]) -> AsyncGenerator[bytes, None]:
        """Yield the result. Unless it ends well, the worker is not usable any more, and must be killed.

        Raises:
            As `QueryEngine.run`.
        """
        await self.ready()
        self.usable = self._ready = False
        try:
            async with asyncio.timeout(self._limits.seconds):
                async with aclosing(self._conversation(sql, tables)) as pieces:
                    async for piece in pieces:
                        yield piece
        except TimeoutError as error:
            raise self._out_of_time() from error
        except asyncio.IncompleteReadError as error:
            raise await self._ended() from error

    async def kill(self) -> None:
        """End the process and the child that runs the query. Idempotent."""
        self.usable = False
        with suppress(ProcessLookupError):  # its id is not given to another process before it is waited for
            if self.process.returncode is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    async def _conversation(self, sql: str, tables: Mapping[str, ArrowSource]) -> AsyncGenerator[bytes, None]:
        fields = {"sql": sql, "tables": {name: list(source.columns) for name, source in tables.items()}}
        with suppress(ConnectionError):  # then its last message, or its exit code, says why
            await self._write(STATEMENT, orjson.dumps(fields))
        needed = await self._needed(tables)
        with suppress(ConnectionError):
            for name, columns in needed.items():
                async with aclosing(tables[name].frames(columns)) as frames:
                    async for frame in frames:
                        await self._write(FRAME, frame)
                await self._write(END)
        while True:
            kind, payload = await self._read()
            if kind == DONE:
                self.usable = True
                return
            if kind != BYTES:
                raise await self._error_of(kind, payload)
            yield payload

    async def _needed(self, tables: Mapping[str, ArrowSource]) -> dict[str, list[str]]:
        kind, payload = await self._read()
        if kind != NEEDS:
            raise await self._error_of(kind, payload)
        needed = orjson.loads(payload)
        # The worker has seen a statement that somebody else wrote, so its word is checked.
        for name, columns in needed.items():
            if not set(columns) <= set(tables[name].columns):
                raise QueryFailedError("The engine asked for columns that are not there")
        return {str(name): list(columns) for name, columns in needed.items()}

    async def _error_of(self, kind: bytes, payload: bytes) -> BrokerPlaneError:
        if kind != ERROR:
            return QueryFailedError("The engine gave an answer that is not one")
        fields: dict[str, Any] = orjson.loads(payload)
        # It goes on to the next query, unless it left bytes unread: then it ends.
        self.usable = True
        return error_class(str(fields["code"])).received(str(fields["message"]))

    async def _ended(self) -> BrokerPlaneError:
        async with asyncio.timeout(_START_SECONDS):
            code = await self.process.wait()
        if code - 128 in (signal.SIGXCPU, signal.SIGALRM):
            return self._out_of_time()
        return TooCostlyError(
            "The engine ended before it had a result; the query probably needs more memory than a query may use. "
            "Read fewer columns or rows, or aggregate",
            reason=f"exit code {code}",
        )

    def _out_of_time(self) -> TooCostlyError:
        return TooCostlyError(
            f"The query took more than {self._limits.seconds:g} s. Read fewer rows, or join and sort less"
        )

    async def _write(self, kind: bytes, payload: bytes = b"") -> None:
        pipe = self.process.stdin
        assert pipe is not None  # noqa: S101  # it was started with one
        pipe.writelines((HEAD.pack(kind, len(payload)), payload))
        await pipe.drain()

    async def _read(self) -> tuple[bytes, bytes]:
        pipe = self.process.stdout
        assert pipe is not None  # noqa: S101  # it was started with one
        kind, size = HEAD.unpack(await pipe.readexactly(HEAD.size))
        if size > MOST_ANSWER_BYTES:
            raise QueryFailedError("The engine gave an answer that is not one")
        return kind, await pipe.readexactly(size) if size else b""
