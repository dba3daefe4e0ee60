"""The rung `sandlock`: Python in a process under Landlock and seccomp (the package sandlock). It needs no privileges.

It may read its own runtime and nothing else, and reach no address. `filtered.py` also takes from it all system calls
that are not in `seccomp.py`, because sandlock alone lets some through that matter
(docs/decisions/0059-a-ladder-of-sandboxes.md).
It talks to its host over its standard input and output.
"""

from __future__ import annotations

import asyncio
import base64
import os
import platform
import subprocess
import sys
import traceback
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker_plane.errors import SandboxUnavailableError
from broker_plane.sandbox import filtered, runtime_probe
from broker_plane.sandbox.host_functions import HostFunctions
from broker_plane.sandbox.ports import Door, Job, RungName, RunVerdict, Sink
from broker_plane.sandbox.process_host import READ_AHEAD_BYTES, ChildEndedError, converse, ending_of
from broker_plane.sandbox.python_runtime import CHILD_OPTIONS, CHILD_SCRIPT, python_runtime
from broker_plane.sandbox.run_frame import Ending, Printed, framed
from broker_plane.sandbox.seccomp import filter_program

if TYPE_CHECKING:
    from sandlock import Process

_INSTALL: Final = "pip install 'broker-plane[levels]'"
_KERNEL: Final = "6.12"
"""The first one with Landlock ABI 6, which keeps signals and abstract sockets within the sandbox."""

_LAUNCHER: Final = Path(filtered.__file__)
_TRIAL_SCRIPT: Final = traceback.__file__
"""A file of the standard library that imports a few others and does nothing."""

_TRIAL_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0
_MAX_OPEN_FILES: Final = 64
_MAX_SAID: Final = 4096


class SandlockRung:
    """Runs code in a Python process that sandlock confines, a new one for each run."""

    name: RungName = "sandlock"

    def unavailable(self) -> str:
        """As `Rung.unavailable`. The first call tries it."""
        if sys.platform != "linux":
            return "sandlock exists only for Linux"
        if find_spec("sandlock") is None:
            return f"sandlock is not installed: {_INSTALL}"
        try:
            if why := _kernel_problem():
                return why
            _try_out()
        except (ImportError, OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
            return f"sandlock does not work here: {' '.join(str(error).split())}"
        return ""

    async def run(self, job: Job, door: Door, sink: Sink) -> RunVerdict:
        """As `Rung.run`."""
        if why := await asyncio.to_thread(self.unavailable):
            raise SandboxUnavailableError(f"sandlock cannot run code: {why}")
        return await framed(self.name, job, door, sink, partial(_execute, job))


async def _execute(job: Job, functions: HostFunctions, printed: Printed) -> Ending:
    starting = asyncio.ensure_future(asyncio.to_thread(_start, (str(_LAUNCHER), _filter(), str(CHILD_SCRIPT))))
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_end_when_started(starting)))
        raise
    try:
        async with _streams(process) as (source, target, errors):
            return await converse(source, target, errors, job, functions, printed)
    except ChildEndedError:
        return ending_of(await asyncio.to_thread(_returncode, process))
    finally:
        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(_end, process)))


def _start(script: Sequence[str]) -> Process:
    """Start Python with a script and its arguments, confined. It is in a group of its own."""
    from sandlock import Sandbox, StdioMode

    runtime = python_runtime()
    libraries = (*runtime.libraries, *_foreign_functions())
    files = [*runtime.folders, runtime.executable, *libraries, str(_LAUNCHER), str(CHILD_SCRIPT)]
    confined = Sandbox(
        # Where a folder within is denied, a path through a symbolic link (/lib) needs what it leads to as well.
        fs_readable=[*files, *map(os.path.realpath, files)],
        fs_denied=list(runtime.hidden),
        clean_env=True,
        env={
            "LD_LIBRARY_PATH": os.pathsep.join(dict.fromkeys(str(Path(path).parent) for path in libraries)),
            "HOME": "/",
            "PATH": "/",
            "USER": "nobody",
        },
        cwd="/",
        max_processes=1,
        max_open_files=_MAX_OPEN_FILES,
    )
    pipe = StdioMode.PIPED
    return confined.popen([runtime.executable, *CHILD_OPTIONS, *script], stdin=pipe, stdout=pipe, stderr=pipe)


async def _end_when_started(starting: asyncio.Future[Process]) -> None:
    await asyncio.to_thread(_end, await starting)


def _end(process: Process) -> None:
    """Kill the process, wait until it has ended, and let go of it."""
    with process:
        process.kill()


def _returncode(process: Process) -> int:
    """Wait for a process that has closed its pipes: its exit code, or -1 times the number of the signal."""
    result = process.wait(timeout=_END_SECONDS)
    return -int(result.signal) if result.signal > 0 else int(result.exit_code)


@asynccontextmanager
async def _streams(process: Process) -> AsyncIterator[tuple[StreamReader, StreamWriter, StreamReader]]:
    """Standard output, standard input and standard error of the process. They are closed at the end."""
    loop = asyncio.get_running_loop()
    source, errors = (StreamReader(READ_AHEAD_BYTES, loop) for _ in range(2))
    transports: list[asyncio.BaseTransport] = []
    try:
        for reader, pipe in ((source, process.stdout), (errors, process.stderr)):
            protocol = partial(StreamReaderProtocol, reader, loop=loop)
            transports.append((await loop.connect_read_pipe(protocol, pipe))[0])
        writing = partial(StreamReaderProtocol, StreamReader(loop=loop), loop=loop)
        transport, protocol_of_target = await loop.connect_write_pipe(writing, process.stdin)
        transports.append(transport)
        yield source, StreamWriter(transport, protocol_of_target, None, loop), errors
    finally:
        for each in transports:
            if not each.is_closing():
                # What was not sent yet is of no use: the process is killed next.
                each.abort() if isinstance(each, asyncio.WriteTransport) else each.close()


def _kernel_problem() -> str:
    from sandlock import landlock_abi_version, min_landlock_abi

    found, needed = landlock_abi_version(), min_landlock_abi()
    if found >= needed:
        return ""
    if found <= 0:
        return f"the kernel ({platform.release()}) has no Landlock, or a boot option (lsm=) or a container has it off"
    return f"it needs Linux {_KERNEL} (Landlock ABI {needed}); this is {platform.release()} (ABI {found})"


@cache
def _try_out() -> None:
    """Start a script as code is started. Success is remembered; a failure may be one of the moment."""
    process = _start((str(_LAUNCHER), _filter(), _TRIAL_SCRIPT))
    with process:
        result = process.wait(timeout=_TRIAL_SECONDS)
        if not result.success:
            raise RuntimeError(f"a trial ended with {result.exit_code}: {_said(process)}")


def _said(process: Process) -> str:
    lines = process.stderr.read(_MAX_SAID).decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line), "")


@cache
def _foreign_functions() -> tuple[str, ...]:
    """The library that `ctypes` needs, which `filtered.py` uses. Code can use it as well, under the filter."""
    import ctypes  # noqa: F401  # loads it

    return tuple(path for path in runtime_probe.libraries() if "/libffi" in path)


@cache
def _filter() -> str:
    return base64.b64encode(filter_program()).decode()
