"""Runs where the MCP SDK is installed, 1.x or 2.x: what its client makes of each call, on each way to the server.

It validates every result against the tool's output schema, and raises where it does not fit.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any


async def opened(stack: AsyncExitStack, where: Any) -> Any:
    if version("mcp").startswith("1."):
        from mcp1_agent import session  # type: ignore[import-not-found]  # beside this file, where it runs

        return await session(stack, where)
    from mcp import Client, StdioServerParameters

    return await stack.enter_async_context(Client(where if isinstance(where, str) else StdioServerParameters(**where)))


async def seen(where: Any, calls: list[Any]) -> list[Any]:
    async with AsyncExitStack() as stack:
        client = await opened(stack, where)
        await client.list_tools()
        results = [await client.call_tool(tool, arguments) for tool, arguments in calls]
    found = [result.model_dump(mode="json", by_alias=True) for result in results]
    return [
        {
            "structured": result.get("structuredContent"),
            "content": result["content"],
            "error": bool(result.get("isError")),
        }
        for result in found
    ]


async def main() -> None:
    asked = json.load(sys.stdin)
    print(json.dumps({way: await seen(where, asked["calls"]) for way, where in asked["ways"].items()}))


if __name__ == "__main__":
    asyncio.run(main())
