"""Many consumers of one body in two processes that begin together: `python -m tests.bench.fan_out` is one of those.

Over HTTP each fetches with the HTTP client that this package pulls with, from whatever server: it knows neither. Over
NATS each has nothing but its grant. What comes is hashed and not kept.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from typing import Any

import httpx2

from broker_plane import Plane
from broker_plane.config import load_settings
from tests.bench.lines import ROOT
from tests.bench.measure import Sample, timed

PROCESSES = 2
_LINE_BYTES = 1 << 22


async def over_http(url: str) -> str:
    """The SHA-256 of what a GET brings, with a client of its own."""
    digest = sha256()
    async with (
        httpx2.AsyncClient(trust_env=False, verify=False, timeout=60) as client,  # http only
        client.stream("GET", url) as response,
    ):
        response.raise_for_status()
        async for piece in response.aiter_raw(1 << 19):
            digest.update(piece)
    return digest.hexdigest()


async def over_nats(nats_url: str, subject: str) -> str:
    """The SHA-256 of what the presigned subject brings, over a connection of its own."""
    digest = sha256()
    settings = load_settings(nats_url=nats_url, role="guest")
    async with Plane.connect(settings) as guest, guest.open(subject) as incoming:
        async for piece in incoming.pieces:
            digest.update(piece)
    return digest.hexdigest()


async def _fetch_all(job: dict[str, Any]) -> list[str]:
    nats_url = job["nats"]
    pulls = (over_nats(nats_url, address) if nats_url else over_http(address) for address in job["addresses"])
    return await asyncio.gather(*pulls)


@asynccontextmanager
async def _process() -> AsyncIterator[Process]:
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.fan_out"), cwd=ROOT, stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _said(process: Process) -> list[str]:
    assert process.stdout is not None
    said: list[str] = json.loads(await process.stdout.readline())
    return said


async def fan_out(addresses: Sequence[str], digest: str, nats_url: str = "") -> Sample:
    """The milliseconds until every consumer has its last byte; their processes run before the clock does.

    Raises:
        RuntimeError: what one of them got is not what was published.
    """
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_process()) for _ in range(PROCESSES)]
        await asyncio.gather(*(_said(process) for process in processes))

        async def go() -> list[list[str]]:
            for number, process in enumerate(processes):
                assert process.stdin is not None
                job = {"nats": nats_url, "addresses": addresses[number::PROCESSES]}
                process.stdin.write(json.dumps(job).encode() + b"\n")
            return await asyncio.gather(*(_said(process) for process in processes))

        ms, said = await timed(go())
    got = [one for share in said for one in share]
    if set(got) != {digest}:
        raise RuntimeError(f"{sum(one != digest for one in got)} of {len(got)} got something else")
    return {"ms": ms, "rows": len(got), "checksum": digest}


def main() -> None:
    print(json.dumps(["ready"]), flush=True)
    line = sys.stdin.readline()
    if line:
        print(json.dumps(asyncio.run(_fetch_all(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
