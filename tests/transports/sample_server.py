"""A server that is put behind carriers: `python -m tests.transports.sample_server [PORT]` serves it alone."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.types import ToolListChangedNotification

bus = InMemorySubscriptionBus()
mcp: MCPServer[Any] = MCPServer("sample", log_level="ERROR", instructions="A sample.", subscriptions=bus)


@mcp.tool()
def add(a: int, b: int = 2) -> int:
    """The sum."""
    return a + b


@mcp.tool()
def process() -> int:
    """The id of the process that answers."""
    return os.getpid()


@mcp.tool()
async def count(to: int, ctx: Context) -> int:
    """Report progress `to` times."""
    for number in range(1, to + 1):
        await ctx.report_progress(number, to, f"step {number}")
    return to


@mcp.tool()
def mark(path: str, text: str) -> str:
    """Append a line to a file."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")
    return text


@mcp.tool()
async def wait_for(path: str, ctx: Context, begun: str = "") -> str:
    """Wait until the file is there. A wait that is cancelled makes the file `<path>.cancelled`."""
    file = anyio.Path(path)
    if begun:
        await anyio.Path(begun).write_text(str(os.getpid()))
    await ctx.report_progress(0, 1, "waiting")
    try:
        while not await file.exists():  # noqa: ASYNC110  # of another process
            await anyio.sleep(0.01)
    except anyio.get_cancelled_exc_class():
        Path(f"{path}.cancelled").touch()  # noqa: ASYNC240  # a cancelled task may not wait
        raise
    return await file.read_text()


@mcp.tool()
def block(path: str, begun: str) -> str:
    """Wait until the file is there, in a thread, which nothing can cancel."""
    Path(begun).write_text(str(os.getpid()))
    while not Path(path).exists():
        time.sleep(0.01)
    return Path(path).read_text()


@mcp.tool()
def key(ctx: Context) -> str:
    """The idempotency key of the call."""
    return str((ctx.request_context.meta or {}).get("io.broker-plane/idempotencyKey", ""))


@mcp.tool()
def trace(ctx: Context) -> str:
    """The trace context of the call."""
    meta: Any = ctx.request_context.meta or {}
    return f"{meta.get('traceparent')} {meta.get('tracestate')}"


@mcp.tool()
def large(size: int) -> str:
    """A text of `size` characters."""
    return "x" * size


@mcp.tool()
def length(text: str) -> int:
    """The number of characters of a text."""
    return len(text)


@mcp.tool()
def fail() -> str:
    """Always fails."""
    raise ValueError("it fails")


@mcp.tool()
def end() -> str:
    """End the process."""
    os._exit(3)


@mcp.tool()
async def change_tools(ctx: Context) -> str:
    """Say that the tools have changed."""
    await ctx.notify_tools_changed()
    return "said"


@mcp.tool()
async def say_changed(ctx: Context) -> str:
    """Say that the tools have changed, as servers did before 2026-07-28."""
    await ctx.session.send_notification(ToolListChangedNotification())
    return "said"


@mcp.resource("sample://text")
def text() -> str:
    """A resource."""
    return "text of the sample"


@mcp.prompt()
def greet(name: str) -> str:
    """A prompt."""
    return f"Greet {name}"


if __name__ == "__main__":
    if sys.argv[1:]:
        mcp.run("streamable-http", port=int(sys.argv[1]))
    else:
        mcp.run()
