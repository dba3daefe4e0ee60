"""Runs beside any MCP framework: `python -m tests.interop.beside_server FRAMEWORK` serves on standard streams.

Its tools use the plane; those called `bare_…` are the same functions without it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from broker_plane.tools import consumer_tool, resource_tool

SERVERS = {
    "mcp 1.x": ("mcp.server.fastmcp", "FastMCP"),
    "mcp 2.x": ("mcp.server.mcpserver", "MCPServer"),
    "FastMCP 4": ("fastmcp", "FastMCP"),
}
HOME, KIND = SERVERS[sys.argv[1]]
Context: Any = import_module(HOME).Context
server: Any = getattr(import_module(HOME), KIND)("beside")


class Line(BaseModel):
    text: str
    next: Line | None = None


def get_alerts(area: str) -> list[dict[str, Any]]:
    """The alerts of an area."""
    return [{"event": "Flood", "area": area, "text": "The river is above its banks."} for _ in range(3)]


def count() -> int:
    return 3


def text() -> str:
    return "Zoë"


def line() -> Line:
    return Line(text="a", next=Line(text="b"))


def mapping() -> dict[str, int]:
    return {"a": 1}


def nothing() -> int | None:
    return None


def untyped():  # type: ignore[no-untyped-def]
    return [{"a": 1}]


for function in (get_alerts, count, text, line, mapping, nothing, untyped):
    server.tool()(resource_tool(function))
    server.tool(name=f"bare_{function.__name__}")(function)


@server.tool()
@consumer_tool
def count_words(rows: list[dict[str, Any]]) -> int:
    """The words of all texts."""
    return sum(len(row["text"].split()) for row in rows)


@server.tool()
@resource_tool(uses=2)
async def progressing(rows: int, ctx: Context) -> list[dict[str, int]]:
    await ctx.report_progress(1, 2)
    return [{"n": number} for number in range(rows)]


@server.tool()
@resource_tool
def large() -> str:
    return "x" * 600_000


@server.tool()
@resource_tool
def not_json() -> list[dict[str, Any]]:
    return [{"n": float("nan"), "raw": b"\x00\xff"}]


@server.tool()
@resource_tool
def fails() -> list[dict[str, Any]]:
    raise LookupError("no such area")


if __name__ == "__main__":
    server.run()
