"""Runs where FastMCP 4 is installed: what its client makes of each call, on each way to the server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StdioTransport


def plainly(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__} | {
            field.name: plainly(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, list):
        return [plainly(item) for item in value]
    if isinstance(value, dict):
        return {key: plainly(item) for key, item in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else f"{type(value).__name__} {value}"


async def seen(where: Any, calls: list[Any]) -> list[Any]:
    transport = where if isinstance(where, str) else StdioTransport(**where)
    found = []
    async with Client(transport) as client:
        await client.list_tools()
        for tool, arguments in calls:
            result = await client.call_tool(tool, arguments, raise_on_error=False)
            found.append(
                {
                    "data": plainly(result.data),
                    "structured": result.structured_content,
                    "content": [block.model_dump(mode="json", by_alias=True) for block in result.content],
                    "error": bool(result.is_error),
                }
            )
    return found


async def main() -> None:
    asked = json.load(sys.stdin)
    print(json.dumps({way: await seen(where, asked["calls"]) for way, where in asked["ways"].items()}))


if __name__ == "__main__":
    asyncio.run(main())
