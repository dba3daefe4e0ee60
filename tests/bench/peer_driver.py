"""mcp-sd, driven: the same requests as `our_driver`, in an environment of its own (it needs mcp < 2).

python -m tests.bench.peer_driver                      answer JSON lines
python -m tests.bench.peer_driver producer|consumer    be that MCP server, over stdio
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_sd import DirectChannel, S2SPServer  # type: ignore[import-not-found]  # in the peer's environment only

from tests.bench import lines, measure
from tests.bench.measure import Sample, Tool
from tests.bench.rows import Rows, cells, hand_on, report, table, texts


def make_server(name: str) -> Any:
    """A server with the tools of both roles, and its own `peak`."""
    server = S2SPServer(name)

    @server.sd_resource_tool()  # type: ignore[untyped-decorator]  # mcp-sd is not there when types are checked
    async def get_rows(rows: int) -> Rows:
        return table(rows)

    @server.sd_resource_tool()  # type: ignore[untyped-decorator]
    async def get_texts(size: int) -> Rows:
        return texts(size)

    @server.sd_consumer_tool()  # type: ignore[untyped-decorator]
    async def count(rows: Rows) -> str:
        return report(rows)

    @server.sd_consumer_tool()  # type: ignore[untyped-decorator]
    async def count_cells(rows: Rows) -> str:
        return report(cells(rows))

    @server.mcp.tool()  # type: ignore[untyped-decorator]
    async def peak() -> str:
        return str(measure.peak_mib())

    return server


async def in_process(server: Any, tool: str, arguments: dict[str, Any]) -> str:
    """The text that a tool of `server` answers, called where it is."""
    answer = await server.mcp.call_tool(tool, arguments)
    content = answer[0] if isinstance(answer, tuple) else answer  # with structured content beside it, or without
    return str(content[0].text)


async def over_stdio(session: Any, tool: str, arguments: dict[str, Any]) -> str:
    """The text that a tool of a subprocess answers."""
    result = await session.call_tool(tool, arguments)
    if result.isError:
        raise RuntimeError(result.content[0].text)
    return str(result.content[0].text)


@asynccontextmanager
async def started(name: str) -> AsyncIterator[Tool]:
    """A server in this process, as its tools."""
    server = make_server(name)
    await server.start()
    try:
        yield partial(in_process, server)
    finally:
        await server.stop()


@asynccontextmanager
async def spawned(name: str) -> AsyncIterator[Tool]:
    """A server in a process of its own, as its tools."""
    parameters = StdioServerParameters(command=sys.executable, args=["-m", "tests.bench.peer_driver", name])
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield partial(over_stdio, session)


class Driver:
    """One handler a kind of row. Servers start when a row first needs them, and stay."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.pairs: dict[str, tuple[Tool, Tool]] = {}

    async def pair(self, over: str) -> tuple[Tool, Tool]:
        """Producer and consumer, `over` "process" or "stdio"."""
        if over not in self.pairs:
            server = started if over == "process" else spawned
            enter = self.stack.enter_async_context
            self.pairs[over] = (await enter(server("producer")), await enter(server("consumer")))
        return self.pairs[over]

    async def about(self) -> Sample:
        """What is measured."""
        return {name: version(name) for name in ("mcp-sd", "mcp", "httpx", "uvicorn", "starlette", "pydantic")}

    async def whole_way(self, rows: int, over: str) -> Sample:
        return await measure.whole_way(*await self.pair(over), rows)

    async def some_rows(self, rows: int, every: int) -> Sample:
        return await measure.some_rows(*await self.pair("process"), rows, every)

    async def some_cells(self, rows: int, every: int, columns: list[str]) -> Sample:
        """Some rows, from the consumer tool's call on; all their columns come, of which the tool takes some."""
        producer, consumer = await self.pair("process")
        handed = hand_on(await measure.publish(producer, rows), every)
        ms, text = await measure.timed(consumer("count_cells", handed))
        return measure.consumed(ms, text)

    async def columns(self, rows: int, columns: list[str]) -> Sample:
        """Some columns of all rows. Its consumer tools never ask for less; its `fetch_data` can."""
        producer, _ = await self.pair("process")
        url = hand_on(await measure.publish(producer, rows))["resource_url"]
        return measure.arrived(*await measure.timed(DirectChannel.fetch_data(url, columns=columns)))

    async def fetch(self, size: int) -> Sample:
        """A body of texts by `DirectChannel.fetch_data`, which makes an HTTP client at each call."""
        producer, _ = await self.pair("process")
        url = hand_on(await producer("get_texts", {"size": size, "abstract_domains": "id"}))["resource_url"]
        return measure.arrived(*await measure.timed(DirectChannel.fetch_data(url)))

    async def memory(self, rows: int) -> Sample:
        async with spawned("producer") as producer, spawned("consumer") as consumer:
            return await measure.memory(producer, consumer, rows)


async def main() -> None:
    async with AsyncExitStack() as stack:
        await lines.serve(Driver(stack))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make_server(sys.argv[1]).run()
    else:
        asyncio.run(main())
