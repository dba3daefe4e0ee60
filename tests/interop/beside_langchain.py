"""Runs beside mcp 1.x and langchain-mcp-adapters: an agent's tools are those of `beside_server`, with our adapter."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

from broker_plane import Plane
from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.langchain import wrap_tools
from broker_plane.errors import ConfigError

ONLY_2 = ("mcp_server.server", "mcp_server.plane_tools", "agent.client", "agent.transfers", "compat.mcp_sd")
HERE = ("agent.langchain", "proxy.stdio", "proxy.url_app", "cli.main", "runtime.plane", "sync", "tools.decorators")


def refusal(module: str) -> str:
    try:
        import_module(f"broker_plane.{module}")
    except ConfigError as error:
        return str(error)
    return ""


def text_of(said: Any) -> str:
    return said if isinstance(said, str) else str(said[0]["text"])


async def main() -> None:
    where = json.load(sys.stdin)["where"]
    client: Any = import_module("langchain_mcp_adapters.client").MultiServerMCPClient(
        {"beside": {"transport": "stdio", **where}}
    )
    tools = {tool.name: tool for tool in wrap_tools(await client.get_tools(), Dispatcher())}
    # In sync mode the body comes through the tool; the adapter keeps it from the model, and puts it into the next call.
    asked = {"area": "CA", "abstract_domains": "event", "mode": "sync"}
    shape = json.loads(text_of(await tools["get_alerts"].ainvoke(asked)))
    words = await tools["count_words"].ainvoke({"resource_url": shape["resource_url"]})
    async with Plane.connect() as plane:
        published = await plane.publish([{"a": 1}], uses=1)
    print(
        json.dumps(
            {
                "shape": shape,
                "words": text_of(words),
                "rows": published.body.rows,
                "refused": {module: refusal(module) for module in ONLY_2},
                "works": [module for module in HERE if not refusal(module)] == list(HERE),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
