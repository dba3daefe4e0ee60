"""Runs where mcp 1.x is installed: an agent that hands alerts from one of our servers to another.

Standard input: {"weather", "stats"}, each a URL, or {"command", "args", "env"} for stdio. Standard output: what it saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client  # type: ignore[attr-defined]  # its name in 1.x


async def session(stack: AsyncExitStack, where: Any) -> Any:
    """An initialized session with the server at `where`."""
    if isinstance(where, str):
        read, write, _ = await stack.enter_async_context(streamablehttp_client(where))
    else:
        read, write = await stack.enter_async_context(stdio_client(StdioServerParameters(**where)))
    opened: Any = await stack.enter_async_context(ClientSession(read, write))
    await opened.initialize()
    return opened


async def tools_of(server: Any) -> dict[str, list[str]]:
    """Names of the tools, each with its parameters."""
    return {tool.name: sorted(tool.inputSchema["properties"]) for tool in (await server.list_tools()).tools}


async def call(server: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await server.call_tool(tool, arguments)
    return {
        "is_error": bool(result.isError),
        "kinds": [block.type for block in result.content],
        "text": result.content[0].text,
        "structured": result.structuredContent,
    }


async def act(asked: dict[str, Any]) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        weather, stats = await session(stack, asked["weather"]), await session(stack, asked["stats"])
        tools = {"weather": await tools_of(weather), "stats": await tools_of(stats)}
        plain = await call(weather, "get_alerts", area="CA")
        found = await call(weather, "get_alerts", area="CA", abstract_domains="event,severity")
        said = json.loads(found["text"])
        chosen = [row for row in said["abstract"] if row["severity"] in ("Severe", "Extreme")]
        handed = {"resource_url": said["resource_url"], "abstract_data": json.dumps(chosen)}
        summary = await call(stats, "summarize", **handed)
        again = await call(stats, "summarize", **handed)
    seen = {"plain": plain, "found": found, "chosen": chosen, "summary": summary, "again": again}
    return {"mcp": version("mcp"), "tools": tools, **seen}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(act(json.load(sys.stdin)))))
