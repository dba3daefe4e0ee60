"""A FastMCP 4 server with the middleware, and a FastMCP client: answers what the client saw."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.metadata import version
from typing import Any

from fastmcp import Client, FastMCP

from broker_plane.proxy.fastmcp import PlaneMiddleware
from tests.proxy.upstream import digest, table


async def play(count: int) -> dict[str, Any]:
    middleware = PlaneMiddleware(consumers=["draw:data"])
    server: Any = FastMCP("with the plane")
    server.add_middleware(middleware)

    @server.tool
    def rows(count: int) -> list[dict[str, Any]]:
        return table(count)

    @server.tool
    def draw(data: list[dict[str, Any]]) -> str:
        return f"{len(data)}:{digest(data)}"

    try:
        async with Client(server) as client:
            tools = {tool.name: sorted(tool.input_schema["properties"]) for tool in await client.list_tools()}
            small = await client.call_tool("rows", {"count": 2})
            found = await client.call_tool("rows", {"count": count})
            text = found.content[0].text
            url = json.loads(text)["resource_url"]
            drawn = [await client.call_tool("draw", {"resource_url": url}) for _ in range(2)]
            read = await client.call_tool("read_body", {"resource_url": url, "rows": "7", "columns": ["kind"]})
            (page,) = (await client.read_resource(str(found.content[1].uri)))[:1]
            shown = await client.call_tool("rows", {"count": 3, "abstract_domains": "kind"})
            bad = await client.call_tool("draw", {"resource_url": "nonsense"}, raise_on_error=False)
    finally:
        await middleware.close()
    return {
        "fastmcp": version("fastmcp"),
        "tools": tools,
        "small": small.structured_content,
        "text": text,
        "drawn": [result.content[0].text for result in drawn],
        "read": read.content[0].text,
        "page": page.text[:100],
        "abstract": json.loads(shown.content[0].text)["abstract"],
        "bad": bad.is_error,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(**json.load(sys.stdin)))))
