"""Runs code without any sandbox, to show that the attacks work where nothing stops them. For the battery alone."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from functools import partial

from broker_plane.sandbox.host_functions import HostFunctions
from broker_plane.sandbox.ports import Door, Job, RungName, RunVerdict, Sink
from broker_plane.sandbox.process_host import READ_AHEAD_BYTES, ChildEndedError, converse, ending_of, let_go
from broker_plane.sandbox.python_runtime import CHILD_SCRIPT
from broker_plane.sandbox.run_frame import Ending, Printed, framed

_UNLIMITED = (
    "import resource, runpy, sys\nresource.setrlimit = lambda *_: None\n"
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)


class UnconfinedRung:
    """The process of the real rungs, with the host's files, network and environment, and without limits of its own."""

    name: RungName = "bwrap"  # a verdict has no word for it

    def unavailable(self) -> str:
        return ""

    async def run(self, job: Job, door: Door, sink: Sink) -> RunVerdict:
        return await framed(self.name, job, door, sink, partial(_execute, job))


async def _execute(job: Job, functions: HostFunctions, printed: Printed) -> Ending:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _UNLIMITED,
        str(CHILD_SCRIPT),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=READ_AHEAD_BYTES,
        close_fds=False,
    )
    try:
        assert process.stdin and process.stdout and process.stderr
        return await converse(process.stdout, process.stdin, process.stderr, job, functions, printed)
    except ChildEndedError:
        return ending_of(await process.wait())
    finally:
        if process.returncode is None:
            process.kill()
        await let_go(process)
