"""Runs where FastMCP 4 is installed: a server that knows nothing of the plane, and its twin with our middleware.

`python -m tests.interop.matrix_server` speaks on standard streams, without the middleware;
`python -m tests.interop.matrix_server PORT PORT` serves both over HTTP, the one with the middleware second.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from datetime import date
from typing import Any

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.utilities.types import Image
from pydantic import BaseModel

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


class Line(BaseModel):
    text: str
    next: Line | None = None


class Report(BaseModel):
    title: str
    made: date
    first: Line
    lines: list[Line]
    size: int = 0


def server(name: str) -> Any:
    mcp: Any = FastMCP(name)

    @mcp.tool
    def scalar(a: int, b: int) -> int:
        return a + b

    @mcp.tool
    def text(count: int) -> str:
        return "Zoë,1\r\n" * count

    @mcp.tool
    def items(count: int) -> list[str]:
        return [f"item {number}" for number in range(count)]

    @mcp.tool
    def table(count: int) -> list[dict[str, Any]]:
        return [{"id": number, "text": "x" * 200} for number in range(count)]

    @mcp.tool
    def model(count: int) -> Report:
        lines = [Line(text=f"line {number}", next=Line(text="next")) for number in range(count)]
        return Report(title="All", made=date(2026, 11, 25), first=Line(text="first"), lines=lines)

    @mcp.tool
    def either(word: bool) -> int | str:
        return "seven" if word else 7

    @mcp.tool
    def mapping(count: int) -> dict[str, int]:
        return {f"k{number}": number for number in range(count)}

    @mcp.tool
    def nothing() -> int | None:
        return None

    @mcp.tool
    def silent() -> None:
        return None

    @mcp.tool
    def fails() -> int:
        raise ToolError("It cannot be done")

    @mcp.tool
    def picture() -> Any:
        return Image(data=PIXEL, format="png")

    return mcp


async def serve(plain: int, with_middleware: int) -> None:
    from broker_plane.proxy.fastmcp import PlaneMiddleware

    middle = server("matrix")
    middle.add_middleware(PlaneMiddleware())
    ports = ((server("matrix"), plain), (middle, with_middleware))
    await asyncio.gather(*(one.run_http_async(port=port, show_banner=False, log_level="error") for one, port in ports))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
    else:
        server("matrix").run(show_banner=False, log_level="ERROR")
