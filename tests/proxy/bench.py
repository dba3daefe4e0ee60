"""What the proxy adds to a small call: `python -m tests.proxy.bench`, medians in milliseconds.

Each pair is measured in turns, call by call, so that both see the same machine.
"""

from __future__ import annotations

import json
import os
from contextlib import AsyncExitStack, ExitStack
from statistics import median
from time import perf_counter
from typing import Any

import anyio
from mcp import Client, StdioServerParameters

from broker_plane.testing.server import wait_for
from tests.ports import free_port
from tests.proxy.conftest import ERAS, ROOT, http_proxy, listens, running
from tests.proxy.conftest import STARTED_PROXY as PROXY
from tests.proxy.conftest import STARTED_UPSTREAM as UPSTREAM

WARM = 20
CALLS = 200


async def measured(clients: dict[str, Client]) -> dict[str, float]:
    """The median of a small call with each client."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(WARM + CALLS):
        for name, client in clients.items():
            began = perf_counter()
            result = await client.call_tool("echo", {"text": f"text {number}"})
            times[name].append(perf_counter() - began)
            assert result.structured_content == {"result": f"text {number}"}
    return {name: 1000 * median(taken[WARM:]) for name, taken in times.items()}


async def pairs(url: str, proxied: str, environment: dict[str, str]) -> list[dict[str, Any]]:
    found = []
    for era in ERAS:
        for way in ("command", "http"):
            async with AsyncExitStack() as stack:
                alone: Any = url
                behind: Any = proxied
                if way == "command":
                    alone = StdioServerParameters(command=UPSTREAM[0], args=UPSTREAM[1:], env=environment, cwd=ROOT)
                    behind = StdioServerParameters(
                        command=PROXY[0], args=[*PROXY[1:], "--", *UPSTREAM], env=environment, cwd=ROOT
                    )
                clients = {
                    name: await stack.enter_async_context(Client(server, mode=era))
                    for name, server in (("alone", alone), ("proxied", behind))
                }
                for client in clients.values():
                    await client.list_tools()
                seen = await measured(clients)
                added = seen["proxied"] - seen["alone"]
                found.append({"way": way, "era": era} | {k: round(v, 2) for k, v in (seen | {"added": added}).items()})
    return found


def main() -> None:
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(running([*UPSTREAM, str(port)], environment))
        url = f"http://127.0.0.1:{port}/mcp"
        wait_for(lambda: listens(url), "the upstream to listen", 30)
        proxied = stack.enter_context(http_proxy(url, environment))
        for line in anyio.run(pairs, url, proxied, environment):
            print(json.dumps(line))


if __name__ == "__main__":
    main()
