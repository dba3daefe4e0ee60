"""A server that fronts of these tests serve; its tools say which process answers, and note what they do in files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

KEY = "io.broker-plane/idempotencyKey"
mcp: MCPServer[Any] = MCPServer("sample", log_level="ERROR")


class Name(BaseModel):
    name: str


@mcp.tool()
def add(a: int, b: int = 2) -> int:
    """The sum."""
    return a + b


@mcp.tool(structured_output=False)
def greet(name: str) -> str:
    """A text, without an output schema."""
    return f"Hello {name}"


@mcp.tool()
async def count(to: int, ctx: Context) -> int:
    """Report progress `to` times."""
    for number in range(1, to + 1):
        await ctx.report_progress(number, to, f"step {number}")
    return to


@mcp.tool()
async def note(path: str, gate: str, ctx: Context) -> str:
    """Report progress, wait until the file `gate` is there, and note the idempotency key once."""
    meta = ctx.request_context.meta or {}
    await anyio.Path(f"{path}.begun").write_text(str(os.getpid()))
    await ctx.report_progress(1, 2, "begun")
    try:
        while not await anyio.Path(gate).exists():  # noqa: ASYNC110  # another process makes it
            await anyio.sleep(0.01)
    except anyio.get_cancelled_exc_class():
        Path(f"{path}.cancelled").touch()  # noqa: ASYNC240  # a cancelled task may not wait
        raise
    key = str(dict(meta).get(KEY, ""))
    noted = Path(path).read_text().split() if Path(path).exists() else []  # noqa: ASYNC240
    if key not in noted:
        with Path(path).open("a") as file:  # noqa: ASYNC230
            file.write(f"{key}\n")
    await ctx.report_progress(2, 2, "noted")
    return key


@mcp.tool()
async def ask_name(ctx: Context) -> str:
    """Ask the user for a name, as servers did before 2026-07-28."""
    answer = await ctx.elicit("Your name?", Name)
    return answer.data.name if answer.action == "accept" and answer.data else answer.action


@mcp.tool()
def end() -> str:
    """End the process."""
    os._exit(3)
