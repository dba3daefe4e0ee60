"""The interpreter: what it lacks goes to the next rung, and its processes end with the one that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker_plane.errors import SandboxUnavailableError
from broker_plane.sandbox.ladder import Ladder
from broker_plane.sandbox.monty import MontyRung
from broker_plane.sandbox.ports import Door, Job, Rung, RungName, RunVerdict, Sink
from broker_plane.testing.processes import until
from tests.sandbox.doors import KeepingSink, ListedDoor
from tests.tools import need_module

pytestmark = pytest.mark.anyio

need_module("pydantic_monty")

LACKING = {
    "module": "import struct",
    "name of a module": "from urllib.parse import quote",
    "function of a module": "import sys\nsys.exit(0)",
    "generator": "def f():\n    yield 1",
    "inheritance": "class E(Exception): pass",
    "built-in function": "bytearray(3)",
    "method of a type": "int.from_bytes(b'ab', 'big')",
    "method of a value": "(5).to_bytes(2, 'big')",
    "bytes of numbers": "bytes([1, 2])",
    "environment": "import os\nos.environ['HOME']",
    "encoding": "b'\\xe9'.decode('latin-1')",
    "host function called by a built-in one": "list(map(now, []))\nsorted([2, 1], key=lambda n: len(pack('B', n)))",
}

WORKS_UNTIL_THEN = "fetch('https://here/moved')\n"


class RecordingRung:
    """A rung that confines nothing, because it runs nothing: it notes what came to it."""

    name: RungName = "bwrap"

    def __init__(self, why: str = "") -> None:
        self.why = why
        self.sources: list[str] = []

    def unavailable(self) -> str:
        return self.why

    async def run(self, job: Job, door: Door, sink: Sink) -> RunVerdict:
        self.sources.append(job.source)
        return RunVerdict(status="ok", rung=self.name)


@pytest.mark.parametrize("lack", LACKING)
async def test_code_that_it_cannot_run_goes_to_the_next_rung(lack: str) -> None:
    job = Job(source=WORKS_UNTIL_THEN + LACKING[lack])
    alone = await Ladder([MontyRung()]).run(job, ListedDoor(), KeepingSink())
    assert (alone.status, alone.rung) == ("unsupported", "monty"), alone.detail
    below = RecordingRung()
    verdict = await Ladder([MontyRung(), below]).run(job, ListedDoor(), KeepingSink())
    assert (verdict.status, verdict.rung) == ("ok", "bwrap")
    assert below.sources == [job.source]


async def test_code_that_has_emitted_something_is_not_run_again() -> None:
    below, sink = RecordingRung(), KeepingSink()
    verdict = await Ladder([MontyRung(), below]).run(Job(source="emit(b'a')\nimport struct"), ListedDoor(), sink)
    assert (verdict.status, verdict.rung, sink.content) == ("failed", "monty", b"a")
    assert not below.sources


@pytest.mark.parametrize(
    "source", ["1 / 0", "def (", "import no_such_module", "fetch('https://elsewhere/')", "emit(oops)"]
)
async def test_code_that_is_wrong_is_not_run_again(source: str) -> None:
    below = RecordingRung()
    verdict = await Ladder([MontyRung(), below]).run(Job(source=source), ListedDoor(), KeepingSink())
    assert (verdict.status in ("failed", "refused"), verdict.rung) == (True, "monty")
    assert not below.sources


async def test_nothing_runs_without_a_sandbox() -> None:
    rungs: list[Rung] = [RecordingRung("there is no bubblewrap"), RecordingRung("the kernel is too old")]
    ladder, door = Ladder(rungs), ListedDoor()
    assert ladder.available() == []
    with pytest.raises(SandboxUnavailableError, match="the kernel is too old"):
        await ladder.run(Job(source="fetch('https://here/moved')"), door, KeepingSink())
    assert not door.calls


HOST = """
import asyncio, sys
from broker_plane.sandbox.monty import MontyRung
from broker_plane.sandbox.ports import Job, RunLimits
from tests.sandbox.doors import KeepingSink, ListedDoor

async def main(source, seconds):
    job = Job(source=source, limits=RunLimits(seconds=float(seconds)))
    runs = [asyncio.create_task(MontyRung().run(job, ListedDoor(), KeepingSink())) for _ in range(2)]
    await asyncio.sleep(0)
    if seconds == "5":
        print("started", flush=True)
    for verdict in await asyncio.gather(*runs):
        print(verdict.status)

asyncio.run(main(*sys.argv[1:]))
"""


def host(source: str, seconds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOST, source, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def test_a_process_that_ran_code_exits_well() -> None:
    """With the library's asynchronous interface, every third one aborted."""
    for _ in range(4):
        with host("emit(b'x')", 60) as process:
            said, _ = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "ok\nok\n")


async def test_nothing_is_left_when_the_host_is_killed() -> None:
    with host("while True: pass", 5) as process:
        assert process.stdout is not None
        process.stdout.readline()
        workers = await until(lambda: interpreters(process.pid), "both interpreters run", 60)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    await until(lambda: not any(map(alive, workers)), "the interpreters have ended", 60)


def interpreters(host: int) -> list[str]:
    found = [each for task in Path(f"/proc/{host}/task").glob("*/children") for each in task.read_text().split()]
    return found if len(found) > 1 else []


def alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
