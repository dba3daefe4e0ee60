"""Runs a chain again and again, each time killed a little later: `… tests.transfer.chain_runner <directory> <every>`.

The first line of its input is a JSON list of descriptors. Before each thing that leaves a trace (a file is opened,
renamed or removed, a connection is made), or every so many of them, one run is ended by SIGKILL; at the next line of
input another run follows it to the end. A JSON line says what the killed one left, and one what the other made of it.
The last one was not killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from broker_plane.client.trust import Trust
from broker_plane.transfer.chain import run_chain
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import parse_descriptor

_TRACES = ("open", "os.rename", "os.remove", "os.mkdir", "socket.connect")


def main() -> None:
    os.fsync = lambda fd: None  # a kill is no power cut, and a hundred runs are slow enough
    root, every = Path(sys.argv[1]), int(sys.argv[2])
    steps = json.loads(sys.stdin.readline())
    point, killed = 1 - every, True
    while killed:
        point += every
        directory = root / str(point)
        killed = _in_child(directory, steps, kill_before=point)
        files = {path.name: path.stat().st_size for path in directory.iterdir()} if directory.exists() else {}
        done = _reported(directory)
        print(json.dumps({"kill": point, "files": files, "done": done}), flush=True)
        sys.stdin.readline()
        _in_child(directory, steps, kill_before=0)
        told = json.loads((root / "told.json").read_text())
        print(json.dumps({"killed": killed, "steps": told}), flush=True)


def _reported(directory: Path) -> int:
    report = directory / "report.json"
    steps = json.loads(report.read_text())["steps"] if report.exists() else []
    return sum(step["state"] == "done" for step in steps)


def _in_child(directory: Path, steps: list[Any], *, kill_before: int) -> bool:
    """Run the chain; whether it was killed before its trace of this number (0: it is not)."""
    pid = os.fork()
    if pid == 0:
        if kill_before:
            _kill_before(kill_before, directory)
        told = asyncio.run(_run(directory, steps))
        (directory.parent / "told.json").write_text(json.dumps(told))
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL
    if status:
        raise RuntimeError(f"The run ended with {status}")
    return False


def _kill_before(point: int, directory: Path) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in _TRACES and (event == "socket.connect" or str(arguments[0]).startswith(str(directory))):
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


async def _run(directory: Path, steps: list[Any]) -> list[Any]:
    transfers = Transfers(Reach(trust=Trust(), networks=["127.0.0.1/32"]), max_bytes=64 << 20)
    report = await run_chain(transfers, [parse_descriptor(step) for step in steps], directory)
    return [asdict(step) for step in report.steps]


if __name__ == "__main__":
    main()
