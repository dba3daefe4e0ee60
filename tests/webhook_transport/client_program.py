"""A client that makes one call with a key, in a session that a file keeps: prints its result as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mcp import Client

from broker_plane.transports.webhook.client import webhook_client
from tests.webhook_transport.sample import KEY


async def main(url: str, state: str, path: str, gate: str) -> None:
    async with Client(webhook_client(url, state=state), mode="2026-07-28") as client:
        meta: Any = {KEY: "once"}
        result = await client.call_tool("note", {"path": path, "gate": gate}, meta=meta)
        print(json.dumps(result.structured_content), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
