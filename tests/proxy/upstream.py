"""An MCP server that knows nothing of the plane: `python -m tests.proxy.upstream [PORT]`."""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel

mcp: MCPServer[Any] = MCPServer("upstream", log_level="ERROR", instructions="Nothing special.")
SECRET = "only for consumers "


def table(count: int) -> list[dict[str, Any]]:
    return [
        {"id": number, "kind": f"k{number % 3}", "text": f"{SECRET}{number} " + "x" * 180} for number in range(count)
    ]


def digest(rows: list[dict[str, Any]]) -> str:
    return sha256(repr([sorted(row.items()) for row in rows]).encode()).hexdigest()


class Report(BaseModel):
    title: str
    lines: list[str]


@mcp.tool()
def rows(count: int) -> list[dict[str, Any]]:
    """A table, promised by the output schema."""
    return table(count)


@mcp.tool(structured_output=False)
def rows_in_text(count: int) -> CallToolResult:
    """A table that no schema promises, beside a picture."""
    import orjson

    text = TextContent(type="text", text=orjson.dumps(table(count)).decode())
    return CallToolResult(content=[text, ImageContent(type="image", data="aGk=", mime_type="image/png")])


@mcp.tool()
def report(count: int) -> Report:
    """Structured content that is no table."""
    return Report(title="All of it", lines=[f"{SECRET}{number}" for number in range(count)])


@mcp.tool()
def echo(text: str) -> str:
    return text


@mcp.tool(structured_output=False)
def media(size: int) -> CallToolResult:
    """Every kind of block that is no text."""
    data = "aGVsbG8h" * (size // 8)
    page = TextResourceContents(uri="test://page", mime_type="text/html", text="<p>" * (size // 3))
    return CallToolResult(
        content=[
            TextContent(type="text", text="look"),
            ImageContent(type="image", data=data, mime_type="image/png"),
            AudioContent(type="audio", data=data, mime_type="audio/wav"),
            EmbeddedResource(type="resource", resource=page),
        ]
    )


@mcp.tool()
def fails(size: int) -> str:
    raise ToolError("e" * size)


@mcp.tool()
async def steps(ctx: Context, count: int) -> str:
    """Reports progress."""
    for step in range(count):
        await ctx.report_progress(step + 1, count, f"step {step}")
    return "done"


@mcp.tool()
async def waits(path: str) -> str:
    """Waits until it is cancelled, and notes that it was."""
    try:
        Path(path).with_suffix(".begun").touch()  # a test's file
        await anyio.sleep_forever()
    finally:
        Path(path).touch()  # noqa: ASYNC240
    return ""


@mcp.tool()
async def holds(path: str) -> str:
    """Answers once there is a file."""
    Path(path).with_suffix(".begun").touch()  # a test's file
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240  # the test makes it
        await anyio.sleep(0.01)
    return "held"


@mcp.tool()
async def says(ctx: Context, text: str) -> str:
    """Says it to the log."""
    await ctx.info(text)
    return "said"


@mcp.tool()
def ends() -> str:
    """The process ends."""
    os._exit(3)


@mcp.tool()
def draw(data: list[dict[str, Any]], title: str = "") -> str:
    """A consumer that takes its rows as an argument."""
    return f"{title}:{len(data)}:{digest(data)}"


@mcp.resource("test://page")
def page() -> str:
    """A page."""
    return "a page"


@mcp.resource("test://page/{number}")
def numbered(number: str) -> str:
    """One of many pages."""
    return f"page {number}"


@mcp.prompt()
def ask(topic: str) -> str:
    """A prompt."""
    return f"What about {topic}?"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mcp.run("streamable-http", port=int(sys.argv[1]), max_request_body_size=64 << 20)
    else:
        mcp.run()
