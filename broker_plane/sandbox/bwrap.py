"""The rung `bwrap`: Python in a process without network, files, privileges or other processes (bubblewrap).

It sees a read-only file system with nothing but its own runtime, has namespaces of its own, may make only the system
calls of `seccomp.py`, and is killed with its namespaces. It reaches its host over its standard input and output.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

from broker_plane.errors import SandboxUnavailableError
from broker_plane.sandbox.host_functions import HostFunctions
from broker_plane.sandbox.ports import Door, Job, RungName, RunVerdict, Sink
from broker_plane.sandbox.process_handle import ProcessHandle
from broker_plane.sandbox.process_host import READ_AHEAD_BYTES, ChildEndedError, converse, ending_of, let_go
from broker_plane.sandbox.python_runtime import CHILD_OPTIONS, CHILD_SCRIPT, PythonRuntime, python_runtime
from broker_plane.sandbox.run_frame import Ending, Printed, framed
from broker_plane.sandbox.seccomp import filter_program

_INSTALL: Final = "apt install bubblewrap, or your system's package of it"
_TRIAL: Final = "import json, linecache, resource, struct, traceback"
_TRIAL_SECONDS: Final = 60.0
_MAX_SAID: Final = 300
_HINT: Final = "; it needs user namespaces, which the kernel, AppArmor or a container may have off"
_SCRIPT: Final = "/child.py"
_NOBODY: Final = "65534"


class BwrapRung:
    """Runs code in a Python process that bubblewrap confines, a new one for each run."""

    name: RungName = "bwrap"

    def unavailable(self) -> str:
        """As `Rung.unavailable`. The first call tries it."""
        if sys.platform != "linux":
            return "bubblewrap exists only for Linux"
        if not _program():
            return f"the program bwrap is not installed: {_INSTALL}"
        try:
            _try_out()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return _why(error)
        return ""

    async def run(self, job: Job, door: Door, sink: Sink) -> RunVerdict:
        """As `Rung.run`."""
        if why := await asyncio.to_thread(self.unavailable):
            raise SandboxUnavailableError(f"bubblewrap cannot run code: {why}")
        return await framed(self.name, job, door, sink, partial(_execute, job))


@dataclass(frozen=True, slots=True)
class _Confined:
    """bubblewrap's process, and the first process in its namespaces if it came that far."""

    process: Process
    outer: ProcessHandle
    inner: ProcessHandle | None


async def _execute(job: Job, functions: HostFunctions, printed: Printed) -> Ending:
    # asyncio leaves the pipes of a process open whose start is cancelled, so the start is always waited for.
    starting = asyncio.ensure_future(_started())
    try:
        process = (await asyncio.shield(starting)).process
        assert process.stdin and process.stdout and process.stderr  # noqa: S101  # it was started with them
        return await converse(process.stdout, process.stdin, process.stderr, job, functions, printed)
    except ChildEndedError:
        return ending_of(await process.wait())
    finally:
        await asyncio.shield(asyncio.ensure_future(_end(starting)))


async def _started() -> _Confined:
    reading, writing = os.pipe()
    try:
        with _filter_file() as seccomp:
            process = await asyncio.create_subprocess_exec(
                *confined(python_runtime(), seccomp, CHILD_OPTIONS, CHILD_SCRIPT, information=writing),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env={},  # bubblewrap's own environment could be read from inside
                pass_fds=(seccomp, writing),
                start_new_session=True,
                limit=READ_AHEAD_BYTES,
            )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    outer = ProcessHandle(process.pid)
    return _Confined(process, outer, await asyncio.to_thread(_first_process, reading))


def _first_process(information: int) -> ProcessHandle | None:
    """The process that bubblewrap names on the pipe `information`, which is closed."""
    with os.fdopen(information, "rb") as pipe:
        found = re.search(rb'"child-pid": *(\d+)', pipe.read())
    return ProcessHandle(int(found[1])) if found else None


async def _end(starting: asyncio.Future[_Confined]) -> None:
    """Kill bubblewrap and the first process of its namespaces, and with that one everything in them.

    It would also die with bubblewrap, but only from the moment on at which it has asked the kernel for that. Before
    bubblewrap names it, it is in bubblewrap's group, and waits.
    """
    await asyncio.wait([starting])
    if starting.exception() is not None:
        return
    found = starting.result()
    found.outer.kill_group()
    found.outer.close()
    if found.inner is not None:
        found.inner.kill()
        found.inner.close()
    await let_go(found.process)


def confined(
    runtime: PythonRuntime, seccomp: int, options: tuple[str, ...], script: Path, *, information: int | None = None
) -> list[str]:
    """The command that runs a script with this runtime.

    `seccomp` is the descriptor of the filter; on the descriptor `information`, bubblewrap says what it has started.
    """
    command = [_program(), "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    command += ["--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox", "--new-session", "--die-with-parent"]
    command += ["--clearenv", "--setenv", "LD_LIBRARY_PATH", runtime.library_path]
    for path in (*runtime.folders, runtime.executable, *runtime.libraries):
        command += ["--ro-bind", path, path]
    for path in runtime.hidden:
        command += ["--tmpfs", path, "--remount-ro", path]
    command += ["--ro-bind", str(script), _SCRIPT, "--chdir", "/", "--remount-ro", "/"]
    if information is not None:
        command += ["--info-fd", str(information)]
    return [*command, "--seccomp", str(seccomp), "--", runtime.executable, *options, _SCRIPT]


@contextmanager
def _filter_file() -> Iterator[int]:
    """The descriptor of a pipe that has the filter."""
    reading, writing = os.pipe()
    try:
        os.write(writing, filter_program())  # shorter than what a pipe holds
    finally:
        os.close(writing)
    try:
        yield reading
    finally:
        os.close(reading)


@cache
def _program() -> str:
    return shutil.which("bwrap") or ""


@cache
def _try_out() -> None:
    """Run a script as code is run. Success is remembered; a failure may be one of the moment."""
    with _filter_file() as descriptor:
        command = confined(python_runtime(), descriptor, (*CHILD_OPTIONS, "-c", _TRIAL), CHILD_SCRIPT)
        subprocess.run(  # noqa: S603
            command,
            env={},
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_SECONDS,
            check=True,
        )


def _why(error: Exception) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error).encode()
    words = " ".join(said.decode(errors="replace").split())[:_MAX_SAID]
    hint = _HINT if "namespace" in words or "uid map" in words else ""
    return f"bwrap does not work here: {words or error}{hint}"
