"""Python within bubblewrap: what it sees and may do, what its host believes, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker_plane.errors import SandboxUnavailableError
from broker_plane.sandbox.bwrap import BwrapRung
from broker_plane.sandbox.child import CALL, EMIT, END, HEAD, MAX_EMIT_BYTES, MAX_TEXT_BYTES
from broker_plane.sandbox.ladder import Ladder
from broker_plane.sandbox.monty import MontyRung
from broker_plane.sandbox.ports import Job, RunLimits, RunVerdict
from broker_plane.testing.processes import peak_memory, until
from tests.sandbox.doors import KeepingSink, ListedDoor
from tests.tools import need, need_module

pytestmark = pytest.mark.anyio

need("bwrap")
ROOMY = RunLimits(seconds=120)


async def run(source: str, limits: RunLimits = ROOMY, sink: KeepingSink | None = None) -> RunVerdict:
    return await BwrapRung().run(Job(source=source, limits=limits), ListedDoor(), sink or KeepingSink())


async def test_code_that_the_interpreter_lacks_runs_here() -> None:
    need_module("pydantic_monty")
    source = """
import struct, zlib, hmac, io, decimal, lzma
class Bad(Exception): pass
def parts():
    yield int.from_bytes(b"\\x01\\x02", "big")
    yield struct.unpack(">H", bytearray(b"\\x01\\x03"))[0]
try:
    raise Bad
except Bad:
    emit(zlib.decompress(zlib.compress(str(list(parts())).encode())))
"""
    sink = KeepingSink()
    verdict = await Ladder([MontyRung(), BwrapRung()]).run(Job(source=source, limits=ROOMY), ListedDoor(), sink)
    assert (verdict.status, verdict.rung, sink.content) == ("ok", "bwrap", b"[258, 259]"), verdict.detail


async def test_it_sees_nothing_but_its_runtime() -> None:
    source = """
import fcntl, io, os
def is_open(number):
    try:
        return fcntl.fcntl(number, fcntl.F_GETFD) >= 0
    except OSError:
        return False
print([number for number in range(32) if is_open(number)])
library = os.path.dirname(os.__file__)
seen = [os.path.join(folder, name) for folder, _, names in os.walk("/") for name in names]
print(sorted(name for name in seen if not name.startswith(library + "/") and ".so" not in name))
packages = [name for name in os.listdir(library) if name.endswith("-packages")]
print(sorted(os.environ), os.getuid(), [name for each in packages for name in os.listdir(f"{library}/{each}")])
emit(io.open("/child.py", "rb").read(3))
"""
    sink = KeepingSink()
    verdict = await run(source, sink=sink)
    assert verdict.status == "ok", verdict.detail
    descriptors, files, rest = verdict.detail.splitlines()
    assert descriptors == "[0, 1, 2]"
    assert re.fullmatch(r"\['/child.py', '[^']+/python3[\d.]*'\]", files), files
    assert rest in ("['LD_LIBRARY_PATH', 'PWD'] 65534 []", "['LC_CTYPE', 'LD_LIBRARY_PATH', 'PWD'] 65534 []")
    assert sink.content == b'"""'


FORBIDDEN = {
    "processes": "import os\nos.fork()",
    "programs": "import subprocess, sys\nsubprocess.run([sys.executable, '-V'])",
    "threads": "import threading\nthreading.Thread(target=print).start()",
    "sockets": "import _socket\n_socket.socket()",
    "unix sockets": "import _socket\n_socket.socket(_socket.AF_UNIX)",
    "signals": "import os\nos.kill(1, 9)",
    "writing": "import io, os\nio.open(os.path.dirname(os.__file__) + '/x', 'w')",
    "a folder": "import os\nos.mkdir('/x')",
    "a link": "import os\nos.symlink('/etc', '/x')",
    "memory files": "import os\nos.memfd_create('x')",
    "more limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "root": "import os\nos.setuid(0)",
    "priority": "import os\nos.nice(-5)",
}


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_it_may_not(name: str) -> None:
    verdict = await run(f"{FORBIDDEN[name]}\nemit(b'done')")
    assert verdict.status in ("refused", "failed"), verdict
    assert not verdict.emitted_bytes
    assert re.search("not permitted|not allowed|can't start new thread", verdict.detail), verdict.detail


def frame(kind: bytes, text: bytes = b"", blobs: bytes = b"", sizes: tuple[int, int] | None = None) -> bytes:
    return HEAD.pack(kind, *(sizes or (len(text), len(blobs)))) + text + blobs


def call(value: str, sizes: str = "[]", blobs: bytes = b"") -> bytes:
    return frame(CALL, f'{{"mark":"m","sizes":{sizes},"value":{value}}}'.encode(), blobs)


FORGED = {
    "unknown kind": frame(b"?"),
    "job of its own": frame(b"J", b"{}"),
    "huge text": frame(CALL, sizes=(MAX_TEXT_BYTES + 1, 0)),
    "huge bytes": frame(CALL, sizes=(2, 0xFFFFFFFF)),
    "huge piece": frame(EMIT, sizes=(0, MAX_EMIT_BYTES + 1)),
    "text with a piece": frame(EMIT, b"{}", b"x"),
    "no JSON": frame(CALL, b"\xff\xfe"),
    "deep JSON": call("[" * 100_000 + "]" * 100_000),
    "another form": call("[1]"),
    "name of another type": call('{"name":1,"values":[],"named":{}}'),
    "long name": call('{"name":"' + "x" * 101 + '","values":[],"named":{}}'),
    "sizes beyond the end": call('{"name":"emit","values":[{"m":0}],"named":{}}', "[2]", b"x"),
    "negative size": call('{"name":"emit","values":[{"m":0}],"named":{}}', "[-1]", b"x"),
    "size of another type": call('{"name":"emit","values":[{"m":0}],"named":{}}', "[true]", b"x"),
    "bytes that are not there": call('{"name":"emit","values":[{"m":1}],"named":{}}', "[1]", b"x"),
    "negative place": call('{"name":"emit","values":[{"m":-1}],"named":{}}', "[1]", b"x"),
    "end of another form": frame(END, b'{"mark":"m","sizes":[],"value":{"status":"ok"}}'),
    "unknown end": frame(END, b'{"mark":"m","sizes":[],"value":{"status":"unsupported","raised":""}}'),
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_frame_ends_the_run(name: str) -> None:
    verdict = await run(f"import os\nos.write(1, {FORGED[name][: 1 << 20]!r})\nwhile True: sleep(1)")
    assert verdict.status == "refused", verdict
    assert "into the pipe" in verdict.detail


async def test_a_forged_call_is_a_call_like_others() -> None:
    number = "9" * 4_000
    value = f'{{"name":"connect","values":["here",{number}],"named":{{}}}}'
    calls = [
        call('{"name":"eval","values":["1"],"named":{}}'),
        call(value),
        call('{"name":"fetch","values":[],"named":{"a":1}}'),
    ]
    source = f"import os\nfor each in {calls!r}:\n    os.write(1, each)\n    print(os.read(0, 300)[:60])"
    verdict = await run(source)
    assert (verdict.status, verdict.emitted_bytes) == ("ok", 0), verdict
    assert verdict.detail.count("b'F") == 3, verdict.detail


async def test_text_that_cannot_be_encoded_reaches_no_door() -> None:
    for call in (r"fetch('https://here/\ud800')", r"fetch('https://here/echo', headers={'a': '\udc00'})"):
        verdict = await run(call)
        assert (verdict.status, "lone surrogate" in verdict.detail) == ("failed", True), verdict


async def test_a_forged_end_cannot_emit_more_or_hide_a_limit() -> None:
    ends = frame(END, b'{"mark":"m","sizes":[],"value":{"status":"ok","raised":""}}')
    verdict = await run(f"import os\nemit(b'a')\nos.write(1, {ends!r})\nwhile True: pass", RunLimits(seconds=0.5))
    assert verdict.status == "limit", verdict


async def test_the_host_does_not_hold_what_it_cannot_hand_on() -> None:
    """A child that writes as fast as it can, and a sink that takes its time."""

    class Waiting(KeepingSink):
        async def write(self, piece: bytes) -> None:
            asked.set()
            await go.wait()

    asked, go = asyncio.Event(), asyncio.Event()
    piece = f"HEAD.pack(b'E', 0, {MAX_EMIT_BYTES}) + bytes({MAX_EMIT_BYTES})"
    source = f"import os, struct\nHEAD = struct.Struct('>cII')\npiece = {piece}\nwhile True: os.write(1, piece)"
    others = set(descendants(os.getpid()))
    running = asyncio.create_task(run(source, RunLimits(seconds=3600, output_bytes=1 << 40), Waiting()))
    await asyncio.wait_for(asked.wait(), 60)
    before = peak_memory(os.getpid())
    children = await until(lambda: sleeping_children(others), "the child waits for its pipe", 60)
    assert children
    assert peak_memory(os.getpid()) - before < 16 << 20
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def sleeping_children(others: set[str]) -> list[str]:
    """Children of children of this process, without `others`, that wait in the kernel."""
    found = [each for each in descendants(os.getpid()) if each not in others]
    states = {each: Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[0] for each in found}
    return found if len(found) >= 3 and set(states.values()) == {"S"} else []


def descendants(process: int) -> list[str]:
    found: list[str] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [child, *descendants(int(child))]
    return found


HOST = """
import asyncio, sys
from broker_plane.sandbox.bwrap import BwrapRung
from broker_plane.sandbox.ports import Job, RunLimits
from tests.sandbox.doors import KeepingSink, ListedDoor

class Telling(KeepingSink):
    async def write(self, piece):
        print("it runs", flush=True)

source = "emit(bytes(100000))\\nwhile True: pass"
asyncio.run(BwrapRung().run(Job(source=source, limits=RunLimits(seconds=3600)), ListedDoor(), Telling()))
"""


def host() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOST]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


async def test_nothing_is_left_when_the_host_is_killed() -> None:
    with host() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "it runs\n"
        children = descendants(process.pid)
        assert len(children) >= 2
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    await until(lambda: not any(Path(f"/proc/{each}").exists() for each in children), "they have ended", 60)


async def test_without_the_program_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from broker_plane.sandbox import bwrap

    bwrap._program.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    try:
        assert "apt install bubblewrap" in BwrapRung().unavailable()
        with pytest.raises(SandboxUnavailableError, match="apt install bubblewrap"):
            await run("emit(b'x')")
    finally:
        bwrap._program.cache_clear()
