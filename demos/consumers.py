"""Consumers that pull at the same moment, in separate processes: `python -m demos.consumers` is one of them.

It prints that it is ready, reads one line with its consumers, and prints what each of them got.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING, Any, cast

import orjson

from broker_plane import Plane, Settings, load_settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.testing.embedded import bare

from .crowd import Way
from .stage import DemoError, module
from .traffic import broker_of

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

_LINE_BYTES = 1 << 24


@dataclass(frozen=True)
class Pull:
    """What one consumer pulls."""

    name: str
    way: Way
    url: str


@dataclass(frozen=True)
class Got:
    """The outcome of one pull; `start` and `end` are unix seconds."""

    name: str
    process: int
    start: float
    end: float
    rows: int = 0
    checksum: str = ""
    error: str = ""


def checksum(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of the rows as JSON lines with sorted columns."""
    digest = sha256()
    for row in rows:
        digest.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
    return digest.hexdigest()


async def at_once(plane: Plane, pulls: list[Pull], *, processes: int, guests: bool) -> tuple[float, dict[str, Got]]:
    """Start this number of processes, let them pull at once, and return the start time and what each consumer got.

    Raises:
        DemoError: a process did not answer.
    """
    url, _ = broker_of(plane.settings)
    place = {"nats_url": bare(url) if guests else url, "role": "guest" if guests else "plane"}
    job = {**place, "bridge_url": plane.bridge_url}
    started: list[Process] = []
    try:
        while len(started) < min(processes, len(pulls)):
            started.append(await _start())
        for process in started:
            await _line(process)
        shares = [pulls[number :: len(started)] for number in range(len(started))]
        at = time()
        for process, share in zip(started, shares, strict=True):
            told = {"settings": job, "pulls": [asdict(pull) for pull in share]}
            cast("StreamWriter", process.stdin).write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))
        said = await asyncio.gather(*(_line(process) for process in started))
        await asyncio.gather(*(process.wait() for process in started))
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                process.kill()
    numbered = [Got(process=number, **got) for number, share in enumerate(said) for got in share]
    return at, {got.name: got for got in numbered}


async def _start() -> Process:
    # Settings come with the job: this environment is the publisher's.
    env = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    name, path = module("demos.consumers")
    return await create_subprocess_exec(
        *(sys.executable, "-m", name), env=env | {"PYTHONPATH": path}, stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES
    )


async def _line(process: Process) -> Any:
    line = await cast("StreamReader", process.stdout).readline()
    if not line:
        raise DemoError("A process of consumers ended early; its output is above")
    return orjson.loads(line)


async def _consume(settings: Settings, pull: Pull) -> dict[str, Any]:
    start = time()
    try:
        async with Plane.connect(settings) as plane:
            rows = await plane.pull(pull.url, via=pull.way)
    except BrokerPlaneError as error:
        return {"name": pull.name, "start": start, "end": time(), "error": f"{error.code}: {error}"}
    return {"name": pull.name, "start": start, "end": time(), "rows": len(rows), "checksum": checksum(rows)}


async def _consume_all(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    settings = load_settings(**job["settings"])
    return await asyncio.gather(*(_consume(settings, Pull(**pull)) for pull in job["pulls"]))


def _say(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def main() -> int:
    _say("ready")
    line = sys.stdin.buffer.readline()
    if line:
        with suppress(KeyboardInterrupt):  # the parent process reports it
            _say(asyncio.run(_consume_all(orjson.loads(line))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
