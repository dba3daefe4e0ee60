"""A subscriber in a process of its own: `python -m tests.bench.hearing WAY ADDRESS NATS_URL`.

It says one JSON line for each notice: its number, and when it was in the loop body (perf_counter, which all processes
of one machine share). `core` is nats-py's own publish/subscribe, without anything of ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import nats

from broker_plane import Plane
from broker_plane.config import load_settings
from tests.bench.lines import ROOT
from tests.bench.measure import Sample

HEARD_SECONDS = 30


def say(number: int) -> None:
    print(json.dumps([number, time.perf_counter()]), flush=True)


async def over_nats(feed: str, nats_url: str) -> None:
    """As any subscriber: `address` is the feed."""
    async with Plane.connect(load_settings(nats_url=nats_url, bridge_url="http://127.0.0.1:1")) as plane:
        async for notice in plane.subscribe(feed, durable="bench", since="new"):
            say(notice.version)


async def over_sse(url: str, nats_url: str) -> None:
    headers = {"accept": "text/event-stream"}
    async with (
        httpx2.AsyncClient(trust_env=False, verify=False, timeout=None) as client,  # http only
        client.stream("GET", f"{url}?since=new", headers=headers) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                say(json.loads(line[5:])["version"])


async def over_webhook(port: str, nats_url: str) -> None:
    """A receiver on `port` that takes every event, and answers every challenge."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            event = json.loads(await reader.readexactly(length))
            if event["type"] == "feed.version":
                say(event["data"]["version"])
            body = json.dumps({"challenge": event.get("challenge")}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", int(port))
    print(json.dumps(server.sockets[0].getsockname()[1]), flush=True)
    await server.serve_forever()


async def over_core(subject: str, nats_url: str) -> None:
    client = await nats.connect(nats_url)

    async def take(message: Any) -> None:
        say(int(message.data.split()[0]))

    await client.subscribe(subject, cb=take)
    await client.flush()
    print(json.dumps("ready"), flush=True)
    await asyncio.Event().wait()


WAYS = {"nats": over_nats, "sse": over_sse, "webhook": over_webhook, "core": over_core}


class Hearing:
    """The other end of such a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self, seconds: float = HEARD_SECONDS) -> Any:
        """What it says next. Raises TimeoutError."""
        assert self._process.stdout is not None
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), seconds))

    async def heard(self, number: int) -> float:
        """When notice `number` was heard; those before it do not count.

        Raises:
            RuntimeError: a later one was heard before it.
        """
        while True:
            found, at = await self.line()
            if found == number:
                return float(at)
            if found > number:
                raise RuntimeError(f"{found} was heard, and {number} was not")


@asynccontextmanager
async def hearing(way: str, address: str, nats_url: str = "") -> AsyncIterator[Hearing]:
    """A subscriber by `way`, for the time of the block."""
    command = (sys.executable, "-m", "tests.bench.hearing", way, address, nats_url)
    process = await create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE)
    try:
        yield Hearing(process)
    finally:
        process.kill()
        await process.wait()


def latencies(seconds: list[float]) -> Sample:
    """p50 and p99 in milliseconds, of notices that came in order, each once."""
    ordered = sorted(1_000 * each for each in seconds)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return {"p50": ordered[len(ordered) // 2], "p99": p99, "rows": len(ordered), "checksum": "in order"}


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(WAYS[sys.argv[1]](*sys.argv[2:]))
