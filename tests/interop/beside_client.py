"""Runs beside any MCP framework: asks `beside_server` with the client of that environment, and answers what it saw."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib import import_module
from importlib.metadata import version
from typing import Any

Call = Callable[..., Awaitable[dict[str, Any]]]
TWINS: dict[str, dict[str, Any]] = {
    "get_alerts": {"area": "CA"},
    "count": {},
    "text": {},
    "line": {},
    "mapping": {},
    "nothing": {},
    "untyped": {},
}


async def opened(stack: AsyncExitStack, framework: str, where: dict[str, Any]) -> Any:
    if framework == "FastMCP 4":
        transport = import_module("fastmcp.client.transports").StdioTransport(**where)
        return await stack.enter_async_context(import_module("fastmcp").Client(transport))
    if framework == "mcp 2.x":
        mcp: Any = import_module("mcp")
        return await stack.enter_async_context(mcp.Client(mcp.StdioServerParameters(**where)))
    return await import_module("mcp1_agent").session(stack, where)


def wire_of(result: Any) -> dict[str, Any]:
    blocks = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
    snake = hasattr(result, "structured_content")
    return {
        "content": blocks,
        "structured": result.structured_content if snake else result.structuredContent,
        "error": bool(result.is_error if snake else result.isError),
        "data": repr(getattr(result, "data", None)),
    }


async def seen(framework: str, where: dict[str, Any]) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        client = await opened(stack, framework, where)
        listed = await client.list_tools()
        tools = {
            tool.name: tool.model_dump(mode="json", by_alias=True, exclude_none=True)
            for tool in (listed if isinstance(listed, list) else listed.tools)
        }

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            options = {"raise_on_error": False} if framework == "FastMCP 4" else {}
            return wire_of(await client.call_tool(tool, arguments, **options))

        found = await call("get_alerts", area="CA", abstract_domains="event")
        url = json.loads(found["content"][0]["text"])["resource_url"]
        return {
            "mcp": version("mcp"),
            "tools": tools,
            "twins": {
                name: [await call(name, **given), await call(f"bare_{name}", **given)] for name, given in TWINS.items()
            },
            "found": found,
            "words": await call("count_words", resource_url=url),
            "again": await call("count_words", resource_url=url),
            "progressing": await call("progressing", rows=2, abstract_domains="n"),
            "large": await call("large"),
            "not_json": await call("not_json"),
            "fails": await call("fails"),
        }


async def main() -> None:
    asked = json.load(sys.stdin)
    print(json.dumps(await seen(asked["framework"], asked["where"])))


if __name__ == "__main__":
    asyncio.run(main())
