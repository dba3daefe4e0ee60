"""Plays `levels`: three foreign servers, and a process for each phase, which carries out one descriptor for each."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from broker_plane import Plane, load_settings

from .bars import working
from .levels_foreign import SECRET
from .levels_protocols import PROTOCOLS
from .levels_rows import digest_of
from .levels_runs import PHASES, Run, Told, problems_in
from .levels_scripted import calls_in
from .stage import DemoError, module

SCRIPTED = "scripted"
SCRIPTED_CALLS = {"x-signed-pages": 1, "x-framed-tcp": 2, "x-ticker-events": 2}
"""Calls that the scripted provider's first run takes: two of its first answers are wrong."""
_LOOPBACK = "127.0.0.0/8"
_TOKEN_BYTES = 4
"""Bytes of text that are counted as one token where no service counts (docs/tokens.md)."""

_PHASE_SECONDS = 600.0


async def play(provider: str, rows: int) -> Told:
    """Play all phases, and forget the code that they left in the cache."""
    with TemporaryDirectory(prefix="levels-") as name:
        directory = Path(name)
        async with Plane.connect() as plane, AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(_served(protocol, rows)) for protocol in PROTOCOLS]
            descriptors = [descriptor for _, descriptor in servers]
            try:
                runs = [run async for run in _phases(servers, descriptors, provider, directory)]
            finally:
                await _forget(plane, descriptors)
    expected = digest_of(rows)
    calls = SCRIPTED_CALLS if provider == SCRIPTED else {}
    return Told(provider, rows, expected, runs, problems_in(runs, expected, calls))


async def _phases(
    servers: Sequence[tuple[Process, dict[str, Any]]], descriptors: list[dict[str, Any]], provider: str, directory: Path
) -> AsyncIterator[Run]:
    for phase, title in PHASES.items():
        if phase == "changed":
            for process, _ in servers:
                process.send_signal(signal.SIGUSR1)
        with working(f"levels: {title}"):
            job = {"phase": phase, "descriptors": descriptors, "directory": str(directory)}
            for run in await _played({**job, "provider": _spelled(provider, directory)}):
                yield replace(run, sha256=_digest(directory / f"{phase}-{run.protocol}.csv"))


def _spelled(provider: str, directory: Path) -> str:
    """The provider as `--provider` of `broker-plane levels run` takes it."""
    if provider != SCRIPTED:
        return provider
    name, _ = module("demos.levels_scripted")
    return f"command:{shlex.join([sys.executable, '-m', name, str(directory)])}"


async def _played(job: dict[str, Any]) -> list[Run]:
    """Carry out all descriptors in a process of their own.

    Raises:
        DemoError: it ended early.
    """
    name, path = module("demos.levels_agent")
    directory = Path(job["directory"])
    noted = len(calls_in(directory))
    process = await create_subprocess_exec(
        *(sys.executable, "-m", name), env=os.environ | _settings() | {"PYTHONPATH": path}, stdin=PIPE, stdout=PIPE
    )
    try:
        async with asyncio.timeout(_PHASE_SECONDS):
            said, _ = await process.communicate(orjson.dumps(job, option=orjson.OPT_APPEND_NEWLINE))
    finally:
        await _end(process)
    runs = [Run(job["phase"], **orjson.loads(line)) for line in said.splitlines()]
    if len(runs) != len(job["descriptors"]):
        raise DemoError(f"The process of the phase {job['phase']} ended early; its output is above")
    return [*_counted(runs, directory, noted)]


def _settings() -> dict[str, str]:
    """Settings of a phase: code may reach servers on this machine, beside what the user has set."""
    networks = load_settings().transfer_networks
    return {
        "BROKER_PLANE_LEVELS_HOSTS": "127.0.0.1",
        "BROKER_PLANE_TRANSFER_NETWORKS": f"{networks},{_LOOPBACK}" if networks else _LOOPBACK,
    }


def _counted(runs: Sequence[Run], directory: Path, noted: int) -> Iterator[Run]:
    """The runs with the tokens of the scripted provider's prompts and answers, which nobody else counts."""
    calls = calls_in(directory)[noted:]
    for run in runs:
        sizes = [call.prompt_bytes + call.answer_bytes for call in calls if call.protocol == run.protocol]
        yield replace(run, tokens=sum(-(-size // _TOKEN_BYTES) for size in sizes)) if sizes else run


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest() if path.exists() else ""


@asynccontextmanager
async def _served(protocol: str, rows: int) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    """A foreign server's process, and the descriptor of its readings with a secret of its own."""
    secret = secrets.token_urlsafe(24)
    name, path = module("demos.levels_foreign")
    command = [sys.executable, "-m", name, protocol, "--rows", str(rows)]
    process = await create_subprocess_exec(
        *command, env=os.environ | {SECRET: secret, "PYTHONPATH": path}, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE
    )
    try:
        assert process.stdout is not None  # noqa: S101 - for the type checker: it was started with a pipe
        line = await process.stdout.readline()
        if not line:
            raise DemoError(f"The server of {protocol} did not start; its output is above")
        yield process, PROTOCOLS[protocol].descriptor(orjson.loads(line)["port"], secret, rows)
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _forget(plane: Plane, descriptors: Sequence[dict[str, Any]]) -> None:
    """Drop the code of these endpoints: another server may get their ports."""
    protocols = {descriptor["protocol"] for descriptor in descriptors}
    ports = {descriptor["sandbox"]["allowed_ports"][0] for descriptor in descriptors}
    for entry in await plane.levels.entries():
        if entry.protocol in protocols and int(entry.endpoint.rpartition(":")[2]) in ports:
            await plane.levels.forget(entry.key)
