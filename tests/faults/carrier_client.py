"""A caller of `keyed_server.py` in a process that a test may kill.

`python -m tests.faults.carrier_client CARRIER TARGET STATE [CALLBACK]`; `transport_of` in tests/carriers.py says what
these are. With CALLBACK, the front sends there, and whoever is there sends to the receiver of this process.

Each line of input is `{"key", "directory", "steps"}`, a call. Lines of output: `{"receiver"}` with CALLBACK, then
`{"ready"}`, and for each call `{"key", "progress"}` for each step and `{"key", "result"}`, or `{"key", "error"}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
from mcp import Client

from broker_plane.transports.webhook.client import webhook_client
from broker_plane.transports.webhook.receiver import WebhookReceiver
from broker_plane.web.server import HttpServer
from tests.carriers import Carrier, transport_of
from tests.faults.keyed_server import KEY

CALL_SECONDS = 300


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


async def call(client: Client, key: str, **arguments: Any) -> None:
    """One call under an idempotency key."""

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        say(key=key, progress=progress)

    try:
        result = await client.call_tool(
            "work",
            arguments,
            meta=cast("Any", {KEY: key}),
            progress_callback=progressed,
            read_timeout_seconds=CALL_SECONDS,
        )
        said = result.structured_content if not result.is_error else str(result.content)
        say(key=key, **{"error" if result.is_error else "result": said})
    except Exception as error:  # noqa: BLE001  # the test shows whatever it is
        say(key=key, error=f"{type(error).__name__}: {error}")


async def serve_input(client: Client) -> None:
    """Make the calls that the lines of input name, all at once."""
    await client.list_tools()
    say(ready=True)
    async with asyncio.TaskGroup() as calls:
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            calls.create_task(call(client, **json.loads(line)))


async def main(carrier: Carrier, target: str, state: str, callback: str = "") -> None:
    if not callback:
        async with Client(transport_of(carrier, target, state=Path(state))) as client:
            await serve_input(client)
        return
    receiver = WebhookReceiver()
    async with HttpServer(receiver) as running:
        say(receiver=running.url)
        async with Client(webhook_client(target, callback=callback, receiver=receiver)) as client:
            await serve_input(client)


if __name__ == "__main__":
    asyncio.run(main(cast("Carrier", sys.argv[1]), *sys.argv[2:]))
