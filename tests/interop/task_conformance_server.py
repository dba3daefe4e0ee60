"""python tests/interop/task_conformance_server.py PORT: the tools that the conformance suite's tasks scenarios call."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

from mcp.server.mcpserver import Elicit, Resolve
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from broker_plane import PlaneServer, TaskContext

server = PlaneServer("task-conformance")


class Confirmation(BaseModel):
    confirm: bool


class Name(BaseModel):
    name: str


def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


@server.mcp.tool()
def greet(name: str) -> str:
    """Greet, without a task."""
    return f"Hello, {name}!"


@server.task_tool
async def slow_compute(seconds: float, label: str = "") -> str:
    """Compute slowly."""
    await asyncio.sleep(seconds)
    return f"computed {label}"


@server.task_tool(wait="never")
async def failing_job() -> str:
    """Fail after a second."""
    await asyncio.sleep(1)
    raise RuntimeError("This job always fails")


@server.task_tool
async def protocol_error_job() -> str:
    """End with an error of the protocol."""
    raise MCPError(-32603, "This job ends with an error of the protocol")


@server.task_tool
async def confirm_delete(filename: str, task: TaskContext) -> str:
    """Ask before deleting."""
    outcome = await task.input("confirm", Elicit(f"Delete {filename}?", Confirmation))
    return f"{filename}: {outcome.action}"


@server.task_tool
async def multi_input(task: TaskContext) -> str:
    """Ask two questions at once."""
    first, second = await asyncio.gather(
        task.input("confirm", Elicit("Go on?", Confirmation)), task.input("name", Elicit("Who are you?", Name))
    )
    return f"{first.action} {second.action}"


@server.task_tool(wait="never")
async def test_tool_with_task(user: Annotated[Name, Resolve(ask_name)], task: TaskContext) -> str:
    """Ask before there is a task."""
    return f"Hello, {user.name}!"


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]))
