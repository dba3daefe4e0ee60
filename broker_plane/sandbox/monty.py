"""The rung `monty`: an interpreter of a Python subset that has no I/O of its own (pydantic-monty).

Each run has a process of its own, with an empty environment, which starts in 2 ms. The code stops at each call of a
host function until the host has answered it, so it can reach only what `host_functions.py` does for it. The library is
used through its synchronous interface, in a thread: with the asynchronous one of 1.4.0, every third process aborted
when it exited.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from broker_plane.errors import SandboxUnavailableError
from broker_plane.sandbox.host_api import SIGNATURES
from broker_plane.sandbox.host_functions import LOCAL, CallError, HostFunctions, LimitExceededError
from broker_plane.sandbox.missing import is_missing
from broker_plane.sandbox.ports import Door, Job, RungName, RunLimits, RunVerdict, Sink
from broker_plane.sandbox.process_handle import ProcessHandle
from broker_plane.sandbox.run_frame import Ending, Printed, framed

if TYPE_CHECKING:
    from pydantic_monty import FunctionSnapshot, Monty, MontyError, MontySession
    from pydantic_monty import SyncSnapshot as Snapshot

T = TypeVar("T")

_INSTALL: Final = "pip install 'broker-plane[levels]'"
_MANY: Final = (1 << 31) - 1
_SLEEPS: Final = frozenset({"time.sleep", "system.sleep"})
_GRACE_SECONDS: Final = 2
_ITEM_BYTES: Final = 32
_MEMORY_SHARE: Final = 3
"""A value takes twice its size in the interpreter while it comes in."""

_MAX_SHOWN: Final = 8192
_OUT_OF_TIME: Final = ("feed time limit", "turn time limit")
_INPUT_FILE = re.compile(r'File "<python-input-\d+>"')


class MontyRung:
    """Runs code in the interpreter of pydantic-monty, a process for each run."""

    name: RungName = "monty"

    def unavailable(self) -> str:
        """As `Rung.unavailable`."""
        if find_spec("pydantic_monty") is None:
            return f"pydantic-monty is not installed: {_INSTALL}"
        return "" if _program() else f"the program of pydantic-monty is not installed: {_INSTALL}"

    async def run(self, job: Job, door: Door, sink: Sink) -> RunVerdict:
        """As `Rung.run`."""
        if why := self.unavailable():
            raise SandboxUnavailableError(f"The interpreter cannot run code: {why}")
        return await framed(self.name, job, door, sink, partial(_execute, job))


async def _execute(job: Job, functions: HostFunctions, printed: Printed) -> Ending:
    worker = MontyWorker(job, functions, printed)
    try:
        return await worker.run()
    finally:
        await worker.close()


class MontyWorker:
    """One process of the interpreter and the thread that waits for it: the library's calls block."""

    def __init__(self, job: Job, functions: HostFunctions, printed: Printed) -> None:
        self._job = job
        self._functions = functions
        self._printed = printed
        self._thread = ThreadPoolExecutor(1, "broker-plane-monty")
        self._pool: Monty | None = None
        self._session: MontySession | None = None
        self._process: ProcessHandle | None = None
        self._too_much: LimitExceededError | None = None

    async def run(self) -> Ending:
        """Start the process and run the code to its end."""
        import pydantic_monty as monty

        try:
            await self._turn(self._open)
        except (monty.MontyError, OSError, RuntimeError) as error:
            raise SandboxUnavailableError(f"The interpreter does not start here: {error}") from error
        try:
            snapshot = await self._turn(self._start)
            while not isinstance(snapshot, monty.MontyComplete):
                if not isinstance(snapshot, monty.FunctionSnapshot):
                    return Ending("unsupported", "The interpreter cannot wait for an awaitable here")
                answer = await self._answer(snapshot)
                snapshot = await self._turn(partial(self._resume, snapshot, answer))
        except monty.MontyError as error:
            if self._too_much is not None:
                raise self._too_much from error
            return await self._turn(partial(_ending, error))  # the text may be long
        return Ending("ok")

    async def close(self) -> None:
        """End the process and the thread, whatever they do at the moment."""
        self._kill()
        closing = self._thread.submit(self._close)
        self._thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    async def _turn(self, work: Callable[[], T]) -> T:
        """Do blocking work in the thread. After a cancellation, `close` ends it."""
        return await asyncio.wrap_future(self._thread.submit(work))

    def _open(self) -> None:
        from pydantic_monty import Monty

        limits = self._job.limits
        self._pool = Monty(binary_path=_program(), min_processes=0, max_processes=1).__enter__()
        self._session = self._pool.checkout(
            limits={
                # The host's clock ends the run. This one ends the process if the host was killed.
                "max_feed_duration_secs": limits.seconds,
                "max_memory": limits.memory_bytes,
                "max_suspensions": _MANY,
            },
            os_policy={"sleep": "call_host"},
        ).__enter__()
        process = self._session.worker_pid
        assert process is not None  # noqa: S101  # it was started with the session, and is idle
        self._process = ProcessHandle(process)
        _bind(process, limits)

    def _start(self) -> Snapshot:
        assert self._session is not None  # noqa: S101  # _open comes first
        inputs = dict(self._job.inputs)
        return self._onward(self._session.feed_start(self._job.source, inputs=inputs, print_callback=self._print))

    def _resume(self, snapshot: FunctionSnapshot, answer: Mapping[str, Any]) -> Snapshot:
        return self._onward(snapshot.resume(answer))  # type: ignore[arg-type]  # one of its typed dictionaries

    def _onward(self, snapshot: Snapshot) -> Snapshot:
        """Answer what needs no waiting, until the code ends or calls something that does."""
        import pydantic_monty as monty

        while True:
            if isinstance(snapshot, monty.NameLookupSnapshot):
                known = _STUBS.get(snapshot.variable_name)
                snapshot = snapshot.resume() if known is None else snapshot.resume(value=known)
            elif not isinstance(snapshot, monty.FunctionSnapshot):
                return snapshot
            elif snapshot.is_os_function:
                if snapshot.function_name in _SLEEPS:
                    return snapshot
                snapshot = snapshot.resume_not_handled()
            elif snapshot.function_name in LOCAL and not self._functions.flush_due:
                snapshot = snapshot.resume(self._answer_here(snapshot))  # type: ignore[arg-type]  # as above
            else:
                return snapshot

    def _answer_here(self, snapshot: FunctionSnapshot) -> dict[str, Any]:
        try:
            value = self._functions.call_local(snapshot.function_name, snapshot.args, snapshot.kwargs)
        except CallError as error:
            return {"exc_type": error.kind, "message": str(error)}
        return {"return_value": value}

    async def _answer(self, snapshot: FunctionSnapshot) -> dict[str, Any]:
        name = "sleep" if snapshot.is_os_function else snapshot.function_name
        try:
            value = await self._functions.call(name, snapshot.args, snapshot.kwargs)
        except CallError as error:
            return {"exc_type": error.kind, "message": str(error)}
        if _size(value) > self._job.limits.memory_bytes // _MEMORY_SHARE:
            raise LimitExceededError(f"a value of {_size(value)} bytes does not fit into its memory")
        return {"return_value": value}

    def _print(self, stream: str, text: str) -> None:
        try:
            self._printed.add(text)
        except LimitExceededError as error:
            self._too_much = error  # an error of this callback would come only at the end of the turn
            self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _close(self) -> None:
        """In the thread: after what it did before."""
        if self._session is not None:
            self._session.__exit__(None, None, None)
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
        if self._process is not None:
            self._process.close()
            self._process = None


def _bind(process: int, limits: RunLimits) -> None:
    """Limit the process itself, beside the limits of the interpreter: no files, and an end to its CPU time."""
    if sys.platform != "linux":
        return
    import resource

    for what, most in (
        (resource.RLIMIT_CPU, ceil(limits.seconds) + _GRACE_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        resource.prlimit(process, what, (most, most))


def _host_stub(name: str) -> Callable[..., None]:
    """A function that the interpreter takes for the host function of this name, where code uses it as a value."""

    def stub() -> None: ...

    stub.__name__ = stub.__qualname__ = name
    return stub


_STUBS: Final = {name: _host_stub(name) for name in SIGNATURES}


def _size(value: Any) -> int:
    """Bytes of a value that a host function returns."""
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, list):
        return _ITEM_BYTES * len(value)
    return len(value) if isinstance(value, str | bytes) else 0


def _ending(error: MontyError) -> Ending:
    """How the run ended, from the error that came out of the interpreter."""
    from pydantic_monty import MontyRuntimeError

    inner = error.exception()
    kind, message = type(inner).__name__, str(inner)[:_MAX_SHOWN]
    shown = error.display("traceback")[-_MAX_SHOWN:] if isinstance(error, MontyRuntimeError) else f"{kind}: {message}"
    shown = _INPUT_FILE.sub('File "<code>"', shown)
    if kind == "MemoryError" or (kind == "TimeoutError" and message.startswith(_OUT_OF_TIME)):
        return Ending("limit", f"Limit exceeded: {message}")
    if kind == "SystemExit" and not message:
        return Ending("ok")
    if kind == "PermissionError":
        return Ending("refused", shown)
    return Ending("unsupported" if is_missing(kind, message) else "failed", shown)


@cache
def _program() -> str:
    """The path of the interpreter's program; empty if it is not installed."""
    try:
        files = distribution("pydantic-monty-runtime").files or []
    except PackageNotFoundError:
        files = []
    # An environment may take its packages from another one, whose scripts it does not see.
    found = next((str(Path(file.locate()).resolve()) for file in files if file.name == "monty"), "")
    return found if found and os.access(found, os.X_OK) else shutil.which("monty") or ""
