"""The server of the rows about carriers: `carrier_server.py:server`, or `python -m tests.bench.carrier_server PORT`.

The latter serves the same functions over Streamable HTTP, as the SDK does it by itself.
"""

from __future__ import annotations

import asyncio
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("bench", log_level="ERROR")

_released = asyncio.Event()
_held = 0


@server.tool()
async def add(a: int, b: int) -> int:
    """A small call."""
    return a + b


@server.tool()
async def hold() -> bool:
    """A long call: it ends at the next `release`."""
    global _held
    _held += 1
    await _released.wait()
    _held -= 1
    return True


@server.tool()
async def census() -> dict[str, int]:
    """How many calls are held, and how many tasks the event loop has."""
    return {"held": _held, "tasks": len(asyncio.all_tasks())}


@server.tool()
async def release() -> bool:
    """End all calls that are held."""
    global _released
    _released.set()
    _released = asyncio.Event()
    return True


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]))
