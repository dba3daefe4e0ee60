"""A server whose tasks wait for an answer of the client, and which says what its event loop holds.

`idle_server.py:server`; `python -m tests.faults.idle_server PORT` serves it over Streamable HTTP.
"""

from __future__ import annotations

import asyncio
import sys

from mcp.server.mcpserver import Elicit
from pydantic import BaseModel

from broker_plane import PlaneServer, TaskContext

server = PlaneServer("idle")


class Approval(BaseModel):
    approve: bool


@server.task_tool
async def send(to: str, task: TaskContext) -> str:
    """Ask before it is sent."""
    outcome = await task.input("approve", Elicit(f"Send to {to}?", Approval))
    return outcome.action


@server.mcp.tool()
async def census() -> int:
    """How many tasks the event loop has, each of which is a coroutine that waits or runs."""
    return len(asyncio.all_tasks())


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]))
