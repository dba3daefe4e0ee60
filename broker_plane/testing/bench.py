"""Measuring this package: what `broker-plane bench` runs alone, and what tests/bench runs beside its peer.

The one rule: what is timed is what a caller does, over a real broker; tables are made before the clock starts.
"""

from __future__ import annotations

import asyncio
import gc
import json as json_text
import platform
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
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

from broker_plane.client.http import HttpPuller
from broker_plane.client.trust import Trust
from broker_plane.config import Settings, load_settings
from broker_plane.embedded.broker import find, stop
from broker_plane.mcp_server.server import PlaneServer
from broker_plane.plane.ports import Puller
from broker_plane.plane.pull import pull
from broker_plane.runtime.connect import Plane
from broker_plane.storage.asker import NatsPuller
from broker_plane.storage.connection import connect
from broker_plane.wire.selector import Selector, parse_selector

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


@dataclass(frozen=True)
class Tables:
    """What the tools of a server under measure return: `table` of so many rows, `texts` of so many bytes, a report."""

    table: Callable[[int], Rows]
    texts: Callable[[int], Rows]
    report: Callable[[Rows], str]


def make_server(name: str, tables: Tables, settings: Settings | None = None) -> PlaneServer:
    """A server with the tools of both roles: `get_rows` and `get_texts` publish, `count` consumes."""
    server = PlaneServer(name, settings=settings)

    @server.resource_tool(abstract_limit=0)
    async def get_rows(rows: int) -> Rows:
        return tables.table(rows)

    @server.resource_tool(abstract_limit=0)
    async def get_texts(size: int) -> Rows:
        return tables.texts(size)

    @server.consumer_tool()
    async def count(rows: Rows) -> str:
        return tables.report(rows)

    return server


@asynccontextmanager
async def tools_of(server: Any) -> AsyncIterator[Tool]:
    """What an MCP client calls: of a server object in memory, or of a subprocess over stdio."""
    async with Client(server) as client:
        yield partial(_text, client)


def subprocess_server(module: str, *arguments: str, **environment: str) -> StdioServerParameters:
    """The server that `python -m module arguments` is."""
    return StdioServerParameters(command=sys.executable, args=["-m", module, *arguments], env=environment)


async def _text(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    result: Any = await client.call_tool(tool, arguments)
    if result.is_error:
        raise RuntimeError(result.content[0].text)
    return str(result.content[0].text)


class Ways:
    """Every way in which a body that was published can be fetched."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def publish(self, rows: Rows, way: Way) -> str:
        """A `resource_url` for one fetch by `way`. Warm means: the bridge has delivered this body once before."""
        published = await self._plane.publish(rows, abstract=["id"], abstract_limit=0, ttl=60, uses=2)
        if way in ("http-new", "http-kept"):
            await self._plane.pull(published.resource_url, via="http")
        return published.resource_url

    async def fetch(self, url: str, way: Way, columns: Sequence[str] | None = None) -> Rows:
        """The rows. A new client is made and closed within the call, as the peer's is."""
        if way == "http-kept":
            return await self._plane.pull(url, columns=columns, via="http")  # type: ignore[no-any-return]
        if way == "nats-kept":
            return await self._plane.pull(url, columns=columns, via="nats")  # type: ignore[no-any-return]
        async with self._new_puller(way) as puller:
            selector = parse_selector({} if columns is None else {"columns": list(columns)})
            return [row for _, row in await pull(puller, url, selector, max_rows=MAX_ROWS, progress=None)]

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
