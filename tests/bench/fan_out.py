"""Many consumers of one body in two processes that begin together: `python -m tests.bench.fan_out` is one of those.

Over HTTP each fetches with the HTTP client that this package pulls with, from whatever server: it knows neither. Over
NATS each has nothing but its grant. What comes is hashed and not kept.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from typing import Any

import httpx2
import nats
from nats.aio.msg import Msg

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
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


async def over_nats(settings: Settings, subject: str) -> str:
    """The SHA-256 of what the presigned subject brings, over a connection of its own; a pull verifies it itself."""
    async with Plane.connect(settings) as guest, guest.pulls.open(subject) as incoming:
        async for _ in incoming.pieces:
            pass
    return incoming.digest


async def _fetch_all(job: dict[str, Any]) -> list[str]:
    settings = load_settings(nats_url=job["nats"], role="guest") if job["nats"] else None
    pulls = (over_nats(settings, address) if settings else over_http(address) for address in job["addresses"])
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
    return _sample(ms, [one for share in said for one in share], digest)


async def broadcast(
    nats_url: str, subject: str, size: int, consumers: int, digest: str, send: Callable[[], Awaitable[None]]
) -> Sample:
    """As `fan_out`, of what `send` publishes on a core subject to consumers that all listen before it begins."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_process()) for _ in range(PROCESSES)]
        await asyncio.gather(*(_said(process) for process in processes))
        for number, process in enumerate(processes):
            share = len(range(number, consumers, PROCESSES))
            job = {"nats": nats_url, "listen": subject, "size": size, "consumers": share}
            assert process.stdin is not None
            process.stdin.write(json.dumps(job).encode() + b"\n")
        await asyncio.gather(*(_said(process) for process in processes))

        async def go() -> list[list[str]]:
            await send()
            return await asyncio.gather(*(_said(process) for process in processes))

        ms, said = await timed(go())
    return _sample(ms, [one for share in said for one in share], digest)


def _sample(ms: float, got: list[str], digest: str) -> Sample:
    if set(got) != {digest}:
        raise RuntimeError(f"{sum(one != digest for one in got)} of {len(got)} got something else")
    return {"ms": ms, "rows": len(got), "checksum": digest}


async def _listen_all(job: dict[str, Any]) -> list[str]:
    """The SHA-256 of what came to each of so many connections; says when all of them listen."""
    done: list[asyncio.Future[str]] = []
    async with AsyncExitStack() as stack:
        for _ in range(job["consumers"]):
            client = await nats.connect(job["nats"])
            stack.push_async_callback(client.close)
            taker = _Taker(job["size"])
            await client.subscribe(job["listen"], cb=taker.take, pending_bytes_limit=-1, pending_msgs_limit=-1)
            await client.flush()
            done.append(taker.done)
        print(json.dumps(["listening"]), flush=True)
        return await asyncio.gather(*done)


class _Taker:
    """One consumer of a broadcast: hashes what comes until it has all of it."""

    def __init__(self, size: int) -> None:
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._left = size
        self._digest = sha256()

    async def take(self, message: Msg) -> None:
        self._digest.update(message.data)
        self._left -= len(message.data)
        if not self._left:
            self.done.set_result(self._digest.hexdigest())


def main() -> None:
    print(json.dumps(["ready"]), flush=True)
    line = sys.stdin.readline()
    if line:
        job = json.loads(line)
        work = _listen_all(job) if "listen" in job else _fetch_all(job)
        print(json.dumps(asyncio.run(work)), flush=True)


if __name__ == "__main__":
    main()
