"""Clients of Yjs in Node, each a process, and a network between them and a bridge that tests can interrupt."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.interop.conftest import HERE, npm_installed

PACKAGES = ("yjs@13.6.33", "y-websocket@3.1.0", "y-protocols@1.0.7", "ws@8.18.3")
_ANSWER_SECONDS = 30


def yjs_installed() -> Path:
    """A `node_modules` with Yjs and its client of y-websocket."""
    return npm_installed("yjs", *PACKAGES)


class YjsClient:
    """One process with a document and a WebsocketProvider."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.client = 0

    async def ask(self, do: str, **fields: Any) -> Any:
        """The answer of tests/interop/yjs_client.cjs to a command."""
        assert self._process.stdin is not None and self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps({"do": do, **fields}).encode() + b"\n")
            line = await asyncio.wait_for(self._process.stdout.readline(), _ANSWER_SECONDS)
        assert line, f"the Node client ended with code {await self._process.wait()}"
        return json.loads(line)

    async def state(self) -> Any:
        """Its value, state vector, and what happened to its connections."""
        return await self.ask("state")

    async def synced(self) -> bool:
        """Whether it is connected and has received sync step 2."""
        return bool((await self.state())["synced"])


@asynccontextmanager
async def yjs_client(modules: Path, url: str, grant: str, **options: Any) -> AsyncIterator[YjsClient]:
    """A client that joins the session of `grant` at the bridge `url` (http://…)."""
    process = await asyncio.create_subprocess_exec(
        "node",
        HERE / "yjs_client.cjs",
        env={"NODE_PATH": str(modules), "PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    client = YjsClient(process)
    try:
        sockets = url.replace("http", "ws", 1) + "/v1/sessions"
        client.client = (await client.ask("open", url=sockets, grant=grant, **options))["client"]
        yield client
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Network:
    """`async with Network(url) as network:` passes connections to `network.url` on to `url`, unless it is `cut`."""

    def __init__(self, target: str) -> None:
        self._target: tuple[str, int]
        self.aim(target)
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self.url = ""
        self.cuts = 0
        """Connections that were cut."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset all connections, and every new one until `heal`."""
        self._is_cut = True
        self.cuts += len(self._writers) // 2
        for writer in list(self._writers):
            writer.transport.abort()

    def aim(self, target: str) -> None:
        """Pass new connections on to another bridge."""
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)

    def heal(self) -> None:
        """Pass connections on again."""
        self._is_cut = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        with suppress(OSError):
            try:
                if not self._is_cut:
                    upstream, asking = await asyncio.open_connection(*self._target)
                    ends.add(asking)
                    self._writers |= ends
                    await asyncio.gather(_pass_on(reader, asking), _pass_on(upstream, writer))
            finally:
                self._writers -= ends
                for each in ends:
                    each.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.close()
