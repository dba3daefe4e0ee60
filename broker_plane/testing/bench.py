"""Benchmarks of this package: `broker-plane bench` runs them alone, and tests/bench beside its peer.

The one rule: what is timed is what a caller does, over a real broker; tables are made before the clock starts.
"""

from __future__ import annotations

import asyncio
import gc
import json as json_text
import platform
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from os import cpu_count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

from mcp import Client, StdioServerParameters
from rich.console import Console
from rich.progress import track
from rich.table import Table

from broker_plane.broker.connecting import connect
from broker_plane.client.http import HttpPuller
from broker_plane.client.trust import Trust
from broker_plane.config import Settings, load_settings
from broker_plane.embedded.broker import find, stop
from broker_plane.mcp_server.server import PlaneServer
from broker_plane.plane.bodies.pull import PullLimits, pull
from broker_plane.plane.ports import Puller
from broker_plane.runtime.plane import Plane
from broker_plane.subjects.puller import NatsPuller
from broker_plane.wire.selector import parse_selector

Rows = list[dict[str, Any]]
Tool = Callable[[str, dict[str, Any]], Awaitable[str]]
Way = Literal["http-new", "http-cold", "nats-new", "http-kept", "nats-kept"]

WAYS: dict[Way, str] = {
    "http-new": "HTTP, a new client, bridge warm",
    "http-cold": "HTTP, a new client, bridge cold",
    "nats-new": "NATS, a new connection",
    "http-kept": "HTTP, a kept client, bridge warm",
    "nats-kept": "NATS, a kept connection",
}
MAX_ROWS = 10_000_000
MAX_MEMORY = 1 << 40


@dataclass(frozen=True)
class BenchData:
    """The data that the tools of a measured server return: a table, texts, and a report."""

    table: Callable[[int], Rows]
    texts: Callable[[int], Rows]
    report: Callable[[Rows], str]


def make_server(name: str, tables: BenchData, settings: Settings | None = None) -> PlaneServer:
    """A server with the tools of both roles: `get_rows` and `get_texts` publish, `count` consumes."""
    server = PlaneServer(name, settings=settings)

    @server.resource_tool(abstract_limit="all")
    async def get_rows(rows: int) -> Rows:
        return tables.table(rows)

    @server.resource_tool(abstract_limit="all")
    async def get_texts(size: int) -> Rows:
        return tables.texts(size)

    @server.consumer_tool()
    async def count(rows: Rows) -> str:
        return tables.report(rows)

    return server


@asynccontextmanager
async def tools_of(server: Any) -> AsyncIterator[Tool]:
    """An MCP client of a server object in memory, or of a subprocess over stdio."""
    async with Client(server) as client:
        yield partial(_text, client)


def subprocess_server(module: str, *arguments: str, **environment: str) -> StdioServerParameters:
    """The server that `python -m module arguments` runs."""
    return StdioServerParameters(command=sys.executable, args=["-m", module, *arguments], env=environment)


async def _text(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    result: Any = await client.call_tool(tool, arguments)
    if result.is_error:
        raise RuntimeError(result.content[0].text)
    return str(result.content[0].text)


class Ways:
    """Every way to fetch a published body."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def publish(self, rows: Rows, way: Way) -> str:
        """A `resource_url` for one fetch by `way`. Warm means: the bridge has delivered this body once before."""
        published = await self._plane.publish(rows, ttl=60, uses=2)
        if way in ("http-new", "http-kept"):
            await self._plane.pull(published.resource_url, via="http")
        return published.resource_url

    async def fetch(self, url: str, way: Way, columns: Sequence[str] | None = None) -> Rows:
        """The rows. A client is created and closed within the call, as in the peer."""
        if way == "http-kept":
            return await self._plane.pull(url, columns=columns, via="http")  # type: ignore[no-any-return]
        if way == "nats-kept":
            return await self._plane.pull(url, columns=columns, via="nats")  # type: ignore[no-any-return]
        async with self._new_puller(way) as puller:
            selector = parse_selector({} if columns is None else {"columns": list(columns)})
            return await pull(puller, url, selector, room=PullLimits(MAX_ROWS, MAX_MEMORY), accept=_bare)

    @asynccontextmanager
    async def _new_puller(self, way: Way) -> AsyncIterator[Puller]:
        settings = self._plane.settings
        if way == "nats-new":
            connection = await connect(nats_url(settings), timeout=settings.request_timeout_seconds)
            try:
                yield NatsPuller(connection, "bench")
            finally:
                await connection.close()
        else:
            http = HttpPuller(Trust(bridges=frozenset({self._plane.bridge_url})))
            try:
                yield http
            finally:
                await http.close()


def _bare(pulled: Any) -> Rows:
    """The pulled rows without their ids."""
    rows: Rows = pulled.rows
    return rows


def nats_url(settings: Settings) -> str:
    """The URL of this plane's NATS: the setting, or the embedded broker."""
    if settings.nats_url:
        return settings.nats_url
    running = find(settings.data_dir)
    if running is None:
        raise RuntimeError(f"No broker runs on {settings.data_dir}")
    return running.nats_url


# ── ours alone: `broker-plane bench` ───────────────────────────────────────────────────────────────────────

COLUMNS = 29
QUICK, FULL = (
    ((8, 1_000), (50_000, 1_000_000, 5_000_000)),
    ((8, 1_000, 50_000), (50_000, 1_000_000, 5_000_000, 20_000_000)),
)
MANY_ROWS, QUICK_ROWS = 50_000, 5_000
ROUNDS, QUICK_ROUNDS = 15, 5


@dataclass(frozen=True)
class Figure:
    """One measurement, in milliseconds."""

    name: str
    samples: list[float]

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "unit": "ms", "median": median(self.samples), "samples": self.samples}


def run_ours(quick: bool, json: bool) -> int:
    """Measure this package on this machine, and print a table or one JSON object; returns the exit code.

    On `BROKER_PLANE_NATS_URL` if that is set, else on a private broker with a store of its own that is gone afterwards.
    """
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="broker-plane-bench-") as directory:
        if not settings.nats_url:
            settings = load_settings(data_dir=Path(directory) / "store")
        try:
            figures = asyncio.run(_measure(settings, quick=quick))
        finally:
            stop(settings.data_dir)
    machine = {"cores": cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    if json:
        print(json_text.dumps({"machine": machine, "rows": [figure.as_json() for figure in figures]}))
        return 0
    table = Table("what", title="milliseconds")
    for heading in ("median", "smallest", "largest"):
        table.add_column(heading, justify="right")
    for figure in figures:
        table.add_row(figure.name, *(f"{of(figure.samples):,.1f}" for of in (median, min, max)))
    Console().print(table)
    return 0


async def _measure(settings: Settings, *, quick: bool) -> list[Figure]:
    tables = BenchData(_table, _texts, lambda rows: str(len(rows)))
    rounds = QUICK_ROUNDS if quick else ROUNDS
    async with AsyncExitStack() as stack:
        ways = Ways(await stack.enter_async_context(Plane.connect(settings)))
        servers = (make_server(name, tables, settings).mcp for name in ("producer", "consumer"))
        producer, consumer = [await stack.enter_async_context(tools_of(server)) for server in servers]
        jobs = list(_jobs(ways, producer, consumer, quick))
        figures = []
        for name, job in track(jobs, "measuring", console=Console(stderr=True), transient=True):
            await job()
            figures.append(Figure(name, [await job() for _ in range(rounds)]))
    return figures


def _jobs(
    ways: Ways, producer: Tool, consumer: Tool, quick: bool
) -> Iterator[tuple[str, Callable[[], Awaitable[float]]]]:
    tables, sizes = QUICK if quick else FULL
    for count in tables:
        yield f"whole way in one process, {count:,}x{COLUMNS}", partial(_whole_way, producer, consumer, count)
    for size in sizes:
        for way, said in WAYS.items():
            yield f"fetch {size / 1e6:g} MB by {said}", partial(_fetch, ways, _texts(size), way)
    rows = QUICK_ROWS if quick else MANY_ROWS
    two = partial(_fetch, ways, _table(rows), "nats-kept", ("column_02", "column_20"))
    yield f"2 of {COLUMNS} columns of {rows:,} rows by {WAYS['nats-kept']}", two


async def _whole_way(producer: Tool, consumer: Tool, rows: int) -> float:
    async def way() -> None:
        asked = {"rows": rows, "abstract_domains": "column_00,column_01"}
        result = json_text.loads(await producer("get_rows", asked))
        handed = {"abstract_data": json_text.dumps(result["abstract"]), "resource_url": result["resource_url"]}
        await consumer("count", handed)

    return await _timed(way())


async def _fetch(ways: Ways, rows: Rows, way: Way, columns: Sequence[str] | None = None) -> float:
    return await _timed(ways.fetch(await ways.publish(rows, way), way, columns))


async def _timed(work: Awaitable[Any]) -> float:
    gc.collect()
    start = perf_counter()
    await work
    return (perf_counter() - start) * 1_000


def _table(rows: int) -> Rows:
    return [{f"column_{column:02}": f"value {row} of {column}" for column in range(COLUMNS)} for row in range(rows)]


def _texts(size: int) -> Rows:
    return [{"id": f"text {row}", "text": f"sentence {row} of a text. " * 40} for row in range(max(1, size // 1_000))]
