"""One server function over each carrier: small calls, one and many at a time, and the memory of many long calls."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from asyncio.subprocess import DEVNULL, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import anyio
import psutil
from mcp import Client, MCPError

from tests.bench.lines import ROOT
from tests.bench.measure import Sample
from tests.carriers import Carrier, client_of, serve_arguments, target_of
from tests.ports import free_port

SERVER = Path(__file__).with_name("carrier_server.py")
START_SECONDS, END_SECONDS = 60, 20
WARM_CALLS = 100


class Carried:
    """The server behind one carrier, and a client of it. Both stay as long as the block."""

    def __init__(self, process: psutil.Process, client: Client, asking: Client) -> None:
        """`asking` asks the server about itself: many long calls of `client` may be all that one session may have."""
        self._process = process
        self._client = client
        self._asking = asking

    async def calls(self, count: int, at_once: int) -> Sample:
        """The latency of `count` calls, of which `at_once` are under way at any time."""
        numbers, found, total = iter(range(count)), [], 0

        async def caller() -> None:
            nonlocal total
            for number in numbers:
                start = time.perf_counter()
                result = await self._client.call_tool("add", {"a": number, "b": 1})
                found.append((time.perf_counter() - start) * 1_000)
                total += result.structured_content["result"]

        gc.collect()
        await asyncio.gather(*(caller() for _ in range(at_once)))
        found.sort()
        return {"p50": found[count // 2], "p99": found[count * 99 // 100], "rows": count, "checksum": total}

    async def long_calls(self, count: int) -> Sample:
        """The memory of the server's process while it has `count` calls under way, in MiB."""
        async with asyncio.TaskGroup() as calls:
            for _ in range(count):
                calls.create_task(self._client.call_tool("hold"))
            while (held := await self._held()) < count:  # noqa: ASYNC110  # of another process
                await asyncio.sleep(0.02)
            found = self._process.memory_full_info()
            await self._asked("release")
        return {"RSS": found.rss / 2**20, "PSS": found.pss / 2**20, "rows": held, "checksum": ""}

    async def warm(self) -> None:
        await self._client.list_tools()
        await self.calls(WARM_CALLS, 8)

    async def _held(self) -> int:
        """How many calls the server holds; 0 if it is too busy with the others to answer."""
        with suppress(MCPError):
            return int((await self._asked("census"))["held"])
        return 0

    async def _asked(self, tool: str) -> Any:
        return (await self._asking.call_tool(tool)).structured_content


@asynccontextmanager
async def carried(carrier: Carrier) -> AsyncIterator[Carried]:
    """The server, in a process of its own, and its client."""
    async with AsyncExitStack() as stack:
        # Of its own: a second process of the same name would take half of the calls.
        name, port = f"bench-{carrier}-{token_hex(4)}", free_port()
        command = [sys.executable, "-m", *_server(carrier, name, port)]
        process = await create_subprocess_exec(*command, cwd=ROOT, env=os.environ, stdin=DEVNULL, stdout=DEVNULL)
        stack.push_async_callback(_ended, process)
        target = target_of(carrier, name, port)
        await _answers(carrier, target)
        client = await stack.enter_async_context(client_of(carrier, target))
        second: tuple[Carrier, str] = (carrier, target) if carrier == "http" else ("nats-core", name)
        asking = await stack.enter_async_context(client_of(*second))
        made = Carried(psutil.Process(process.pid), client, asking)
        await made.warm()
        yield made


def _server(carrier: Carrier, name: str, port: int) -> list[str]:
    if carrier == "http":
        return ["tests.bench.carrier_server", str(port)]
    return ["broker_plane.cli.main", *serve_arguments(carrier, name, port, str(SERVER))]


async def _answers(carrier: Carrier, target: str) -> None:
    """Returns once the server is there."""
    with anyio.fail_after(START_SECONDS):
        while True:
            with suppress(Exception):  # whatever a client says of a server that is not there yet
                async with client_of(carrier, target) as client:
                    await client.list_tools()
                    return
            await asyncio.sleep(0.1)


async def _ended(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    await asyncio.wait_for(process.wait(), END_SECONDS)
