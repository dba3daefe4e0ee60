"""What every rung does in the same way. A rung that this machine lacks is skipped; under CI it must be there."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from broker_plane.sandbox.host_api import HOST_API_TEXT, SIGNATURES
from broker_plane.sandbox.ladder import default_rungs
from broker_plane.sandbox.ports import MAX_DETAIL_BYTES, DoorResponse, Job, Rung, RunLimits, RunVerdict, Sink
from broker_plane.testing.processes import until
from tests.sandbox.doors import BrokenSink, KeepingSink, ListedDoor, SinkBrokeError, StuckSink, YieldingSink
from tests.sandbox.programs import INPUTS, PROGRAMS, Program

pytestmark = pytest.mark.anyio

ROOMY = RunLimits(seconds=120)


@pytest.fixture(params=default_rungs(), ids=lambda rung: str(rung.name))
def rung(request: pytest.FixtureRequest) -> Rung:
    found: Rung = request.param
    if why := found.unavailable():
        (pytest.fail if os.environ.get("CI", "").lower() in ("1", "true") else pytest.skip)(why)
    return found


@pytest.fixture(autouse=True)
async def no_process_is_left() -> AsyncIterator[None]:
    before = children()
    adopt_orphans(True)
    yield
    await until(lambda: children() <= before, "the processes of the run are gone", 30)
    adopt_orphans(False)


def adopt_orphans(on: bool) -> None:
    """Become the parent of processes below this one whose parent ends, so that `children` finds them (prctl(2))."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, int(on), 0, 0, 0)


def children() -> set[str]:
    """Processes below this one that have not ended, by id."""
    found: set[str] = set()
    waiting = {str(os.getpid())}
    while waiting:
        parent = waiting.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            below = set(read(task).split())
            waiting |= below - found
            found |= below
    return {
        each for each in found if read(Path(f"/proc/{each}/stat")).rpartition(")")[2].split()[:1] not in ([], ["Z"])
    }


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


async def run(
    rung: Rung, source: str, limits: RunLimits = ROOMY, door: ListedDoor | None = None, sink: Sink | None = None
) -> RunVerdict:
    return await rung.run(Job(source=source, inputs=INPUTS, limits=limits), door or ListedDoor(), sink or KeepingSink())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.name))
async def test_a_program_ends_in_the_same_way_on_every_rung(rung: Rung, program: Program) -> None:
    sink, door = KeepingSink(), ListedDoor()
    verdict = await run(rung, program.source, door=door, sink=sink)
    assert (verdict.status, verdict.rung) == (program.status, rung.name), verdict.detail
    assert sink.content == program.emitted
    assert verdict.emitted_bytes == len(program.emitted)
    assert program.detail in verdict.detail
    assert len(verdict.detail.encode()) <= MAX_DETAIL_BYTES
    assert not door.open_handles, "the code's handles are closed when it ends"


LIMITS = {
    "loops": ("while True: pass", RunLimits(seconds=0.5), "took more than 0.5 s"),
    "loops and handles every error": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        RunLimits(seconds=0.5),
        "took more than 0.5 s",
    ),
    "sleeps": ("sleep(1000)", RunLimits(seconds=0.5), "took more than 0.5 s"),
    "sleeps by time": ("import time\ntime.sleep(1000)", RunLimits(seconds=0.5), "took more than 0.5 s"),
    "waits for a response": ("fetch('https://here/never')", RunLimits(seconds=0.5), "took more than 0.5 s"),
    "memory": ("x = []\nwhile True: x.append('a' * 1000000)", RunLimits(memory_bytes=64 << 20, seconds=60), "memory"),
    "memory at once": ("x = b'a' * 10**12", RunLimits(memory_bytes=64 << 20, seconds=60), "memory"),
    "output": ("while True: emit(b'a' * 1000)", RunLimits(output_bytes=100_000, seconds=60), "more than 100000 bytes"),
    "output at once": ("emit(b'a' * 1000000)", RunLimits(output_bytes=999_999, seconds=60), "more than 999999 bytes"),
    "prints": ("while True: print('a' * 1000)", RunLimits(printed_bytes=10_000, seconds=60), "more than 10000 bytes"),
    "prints, and handles every error": (
        "while True:\n    try:\n        print('a' * 1000)\n    except BaseException: pass",
        RunLimits(printed_bytes=10_000, seconds=60),
        "more than 10000 bytes",
    ),
    "requests": (
        "while True:\n    try:\n        fetch('https://here/moved')\n    except Exception: pass",
        RunLimits(requests=3, seconds=60),
        "more than 3 requests",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_a_run_ends_at_each_limit(rung: Rung, name: str) -> None:
    source, limits, detail = LIMITS[name]
    sink, door = KeepingSink(), ListedDoor()
    verdict = await run(rung, source, limits, door, sink)
    assert verdict.status == "limit", verdict
    assert detail in verdict.detail.lower()
    assert len(sink.content) <= limits.output_bytes
    assert len(door.calls) <= limits.requests


async def test_exactly_the_limit_is_allowed(rung: Rung) -> None:
    limits = RunLimits(output_bytes=1000, printed_bytes=11, requests=2, seconds=60)
    source = "emit(b'a' * 1000)\nprint('0123456789')\nfetch('https://here/moved')\nfetch('https://here/moved')"
    verdict = await run(rung, source, limits)
    assert (verdict.status, verdict.emitted_bytes) == ("ok", 1000), verdict


async def test_code_goes_on_only_when_its_sink_has_taken_the_bytes(rung: Rung) -> None:
    door = ListedDoor()
    sink = YieldingSink(door)
    source = "for i in range(20):\n    emit(bytes(1000000))\n    fetch('https://here/moved')"
    verdict = await run(rung, source, door=door, sink=sink)
    assert (verdict.status, verdict.emitted_bytes, len(sink.content)) == ("ok", 20_000_000, 20_000_000)
    assert sink.calls_at_the_end_of_each_million == list(range(20))


async def test_an_error_of_the_sink_ends_the_run_and_comes_out(rung: Rung) -> None:
    door = ListedDoor()
    source = "while True:\n    try:\n        emit(bytes(100000))\n    except BaseException: pass"
    with pytest.raises(SinkBrokeError):
        await run(rung, source, door=door, sink=BrokenSink())
    with pytest.raises(SinkBrokeError):
        await run(rung, "emit(b'little')", door=door, sink=BrokenSink())


async def test_the_time_spent_on_the_sink_counts(rung: Rung) -> None:
    verdict = await run(rung, "emit(bytes(100000))\nemit(bytes(100000))", RunLimits(seconds=0.5), sink=StuckSink())
    assert verdict.status == "limit", verdict
    verdict = await run(rung, "emit(b'little')", RunLimits(seconds=0.5), sink=StuckSink())
    assert verdict.status == "limit", verdict


async def test_a_timeout_of_the_sink_is_an_error_of_the_sink(rung: Rung) -> None:
    with pytest.raises(TimeoutError, match="the disk"):
        await run(rung, "emit(bytes(100000))", sink=BrokenSink(TimeoutError("the disk does not answer")))


async def test_a_refused_secret_can_be_handled(rung: Rung) -> None:
    door = ListedDoor(has_secret=False)
    verdict = await run(rung, "hmac_sha256(b'm')", door=door)
    assert (verdict.status, "no secret for hmac" in verdict.detail) == ("refused", True), verdict


async def test_an_error_of_the_door_that_is_no_answer_comes_out(rung: Rung) -> None:
    """A mistake in the host is not the code's, which must not handle it."""

    class WrongDoor(ListedDoor):
        async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> DoorResponse:
            raise LookupError("a mistake in the host")

    with pytest.raises(LookupError, match="a mistake"):
        await run(rung, "try:\n    fetch('https://here/')\nexcept BaseException: pass", door=WrongDoor())


@pytest.mark.parametrize("source", ["fetch('https://here/never')", "fetch('https://here/moved')\nwhile True: pass"])
async def test_a_cancelled_run_ends_at_once(rung: Rung, source: str) -> None:
    door = ListedDoor()
    running = asyncio.create_task(run(rung, source, RunLimits(seconds=3600), door))
    await until(lambda: door.calls, "the code has called", 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 60)
    assert not door.open_handles


async def test_runs_that_are_cancelled_at_any_moment_leave_nothing_open(rung: Rung) -> None:
    await run(rung, "x = 1")
    before = open_files()
    for steps in (0, 1, 2, 3, 5, 8, 13, 21):
        running = asyncio.create_task(run(rung, "while True: fetch('https://here/megabyte')", RunLimits(seconds=3600)))
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    await until(lambda: open_files() <= before, "all descriptors are closed", 60)


async def test_runs_share_nothing(rung: Rung) -> None:
    await run(rung, "secret = b'of the first run'")
    sources = [f"emit(b'{n}')\nsleep(0.05)\nemit(b'{n}')" for n in range(4)]
    sinks = [KeepingSink() for _ in sources]
    verdicts = await asyncio.gather(*[run(rung, each, sink=sink) for each, sink in zip(sources, sinks, strict=True)])
    assert [each.status for each in verdicts] == ["ok"] * 4
    assert [sink.content for sink in sinks] == [b"00", b"11", b"22", b"33"]
    assert (await run(rung, "emit(secret)")).status == "failed"


async def test_the_description_names_every_function() -> None:
    for name, signature in SIGNATURES.items():
        first = f"\n{name}({', '.join(signature.parameters).replace('values', '*values')}"
        simple = HOST_API_TEXT.replace('="GET"', "").replace("=None", "").replace('=b""', "").replace("=False", "")
        assert first in simple.replace("=65536", ""), first
