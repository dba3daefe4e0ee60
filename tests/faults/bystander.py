"""A bystander: a process of its own that uses a bridge while somebody else attacks it, and reports what it noticed.

It probes `/healthz` and `/readyz` on a new connection every few milliseconds, and pulls a small body of its own
(another owner's, another grant's) over HTTP and over NATS. The test samples the memory of the bridge from /proc.

    async with watched(stage, nats_url=server.url, bridge=url, pid=pid) as seen:
        await attack()
    assert seen.failed == []
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, cast
from urllib.parse import urlsplit

from broker_plane import Plane
from broker_plane.errors import BrokerPlaneError
from broker_plane.runtime.pulls import Via
from broker_plane.testing.processes import Actor, memory
from tests.faults.conftest import Stage
from tests.figures import Figure

HEALTHZ_AIM_SECONDS = 0.25
READYZ_AIM_SECONDS = 1.0
MEMORY_AIM_BYTES = 64 << 20
_PROBE_SECONDS = 0.01
_PULL_SECONDS = 0.05
_GIVE_UP_SECONDS = 120.0
_TOLD = ("probes", "worst_probe", "worst_ready", "pulls", "worst_pull")
_BODY = os.urandom(2_000)


@dataclass(slots=True)
class Seen:
    """What a bystander noticed; complete once the block of `watched` has ended."""

    probes: int = 0
    worst_probe: float = 0.0
    """Seconds that the slowest `/healthz` took."""
    worst_ready: float = 0.0
    """The same of `/readyz`."""
    pulls: int = 0
    worst_pull: float = 0.0
    failed: list[str] = field(default_factory=list)
    """Probes and pulls that failed, in words."""
    grown: int = 0
    """Bytes by which the bridge's memory peaked above what it had before."""

    def tell(self, figure: Figure, what: str) -> None:
        """Record the figures of the battery of hostile inputs."""
        probe, grown = f"{self.worst_probe * 1e3:.0f} ms of {self.probes}", f"{self.grown / 1e6:.0f} MB"
        met = self.worst_probe <= HEALTHZ_AIM_SECONDS
        figure(f"{what}: worst /healthz", probe, aim="250 ms", met=met)
        ready = f"{self.worst_ready * 1e3:.0f} ms"
        figure(f"{what}: worst /readyz", ready, aim="1 s", met=self.worst_ready <= READYZ_AIM_SECONDS)
        figure(f"{what}: memory of the bridge", grown, aim="+ 64 MB", met=self.grown <= MEMORY_AIM_BYTES)
        pulls = f"{self.pulls - len(self.failed)} of {self.pulls}, slowest {self.worst_pull * 1e3:.0f} ms"
        figure(f"{what}: a bystander's pulls", pulls, aim="all", met=not self.failed)


@asynccontextmanager
async def watched(stage: Stage, *, nats_url: str, bridge: str, pid: int) -> AsyncIterator[Seen]:
    """A bystander looks on during the block; `pid` is the bridge's."""
    actor = stage.run("tests.faults.bystander", nats_url=nats_url, bridge_url=bridge, owner="bystander")
    await actor.said()
    seen = Seen()
    sampling = asyncio.create_task(_sample(pid, memory(pid)["VmRSS"], seen))
    try:
        yield seen
        await _report(actor, seen)
    finally:
        sampling.cancel()
        actor.close()


async def _report(actor: Actor, seen: Seen) -> None:
    actor.tell()
    fields = await actor.said(_GIVE_UP_SECONDS)
    for name, value in fields.items():
        setattr(seen, name, value)


async def _sample(pid: int, before: int, seen: Seen) -> None:
    while True:
        with suppress(OSError, KeyError):
            seen.grown = max(seen.grown, memory(pid)["VmRSS"] - before)
        await asyncio.sleep(0.02)


# ── the process ────────────────────────────────────────────────────────────────────────────────────────────


async def _probe(bridge: str, seen: Seen) -> None:
    while True:
        seen.probes += 1
        seen.worst_probe = max(seen.worst_probe, await _timed(bridge, "/healthz", seen))
        await asyncio.sleep(_PROBE_SECONDS)
        seen.worst_ready = max(seen.worst_ready, await _timed(bridge, "/readyz", seen))


async def _timed(bridge: str, path: str, seen: Seen) -> float:
    """Seconds until the bridge answered."""
    began = monotonic()
    try:
        async with asyncio.timeout(_GIVE_UP_SECONDS):
            await _asked(bridge, path)
    except (OSError, ValueError) as error:
        seen.failed.append(f"{path}: {error!r}")
    return monotonic() - began


async def _asked(bridge: str, path: str) -> None:
    where = urlsplit(bridge)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        # Not ready, in time, is an answer as well.
        if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503") if path == "/readyz" else b"HTTP/1.1 200"):
            raise ValueError(answer[:60])
    finally:
        writer.close()


async def _pull(plane: Plane, addresses: dict[Via, str], seen: Seen) -> None:
    while True:
        for via, address in addresses.items():
            began = monotonic()
            seen.pulls += 1
            try:
                if await plane.pull(address, via=via) != _BODY:
                    seen.failed.append(f"{via}: other bytes")
            except BrokerPlaneError as error:
                seen.failed.append(f"{via}: {error.code}: {error} ({error.reason})")
            seen.worst_pull = max(seen.worst_pull, monotonic() - began)
        await asyncio.sleep(_PULL_SECONDS)


async def main() -> None:
    """Look on until a line comes in; say what was seen."""
    seen = Seen()
    async with Plane.connect() as plane:
        published = await plane.publish(_BODY, uses="unlimited", ttl=3600)
        addresses = cast("dict[Via, str]", {"http": published.resource_url, "nats": published.resource_url})
        tasks = [
            asyncio.create_task(_probe(plane.bridge_url, seen)),
            asyncio.create_task(_pull(plane, addresses, seen)),
        ]
        await asyncio.sleep(0.1)
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for task in tasks:
            # What is under way when the attack ends counts, too: a probe that hangs must not be forgotten.
            await _finished(task, seen)
    fields: dict[str, Any] = {
        name: getattr(seen, name) for name in ("probes", "worst_probe", "worst_ready", "pulls", "worst_pull")
    }
    print(json.dumps(fields | {"failed": seen.failed[:20]}), flush=True)


async def _finished(task: asyncio.Task[None], seen: Seen) -> None:
    probes, pulls = seen.probes, seen.pulls
    async with asyncio.timeout(_GIVE_UP_SECONDS):
        while probes == seen.probes and pulls == seen.pulls and not task.done():  # noqa: ASYNC110  # of another task
            await asyncio.sleep(_PROBE_SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
