"""A consumer that does what it is told, one JSON line each, and says how that ended: `python -m … <directory>`.

A job is {"do", "url"}; the answer is {"code", "error", "seconds", "memory"}: the code of the error (empty: there was
none; `other` is one that is not ours), and the most memory of this process so far, in bytes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from broker_plane.broker.connecting import connect
from broker_plane.client.http import HttpPuller
from broker_plane.client.upload import Uploader
from broker_plane.errors import BrokerPlaneError
from broker_plane.files.targets import open_target
from broker_plane.plane.bodies import pull as pulling
from broker_plane.subjects.puller import NatsPuller
from broker_plane.testing.processes import memory
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from broker_plane.wire.selector import WHOLE, parse_selector
from tests.trusting import TRUSTING

MAX_ROWS = 50_000_000
CONTENT = bytes(200_000)


def descriptor(url: str, **fields: Any) -> Descriptor:
    said = {
        "$schema": "mcp/transfer-descriptor/v1",
        "transfer_id": str(uuid4()),
        "mode": "fetch",
        "protocol": "http",
        "endpoint": url,
        "format": "application/octet-stream",
    }
    return parse_descriptor(said | fields)


class Consumer:
    """The verbs of a job."""

    def __init__(self, directory: Path) -> None:
        self._puller = HttpPuller(TRUSTING)
        self._uploader = Uploader(TRUSTING, patience=1.0)
        self._transfers = Transfers(Reach(trust=TRUSTING, networks=["127.0.0.1/32"]), max_bytes=64 << 30)
        self._directory = directory
        self._source = directory / "source"
        self._source.write_bytes(CONTENT)

    async def pull(self, url: str) -> None:
        await pulling.pull(self._puller, url, WHOLE, room=pulling.PullLimits(MAX_ROWS, 1 << 30), accept=lambda got: got)

    async def pull_columns(self, url: str) -> None:
        selector = parse_selector({"columns": ["a"]})
        await pulling.pull(
            self._puller, url, selector, room=pulling.PullLimits(MAX_ROWS, 1 << 30), accept=lambda got: got
        )

    async def pull_to(self, url: str) -> None:
        await pulling.pull_to(self._puller, url, open_target(self._directory / "pulled"))

    async def look(self, url: str) -> None:
        await self._puller.look(url, 5)

    async def page(self, url: str) -> None:
        await self._puller.page(url, "", 512 * 1024, 0)

    async def tell(self, url: str) -> None:
        await self._puller.tell(url, {"status": "success"})

    async def upload(self, url: str) -> None:
        await self._uploader.upload(url.replace("/s2sp/data/", "/s2sp/upload/"), CONTENT)

    async def fetch(self, url: str) -> None:
        await self._transfers.fetch(descriptor(url))

    async def fetch_to(self, url: str) -> None:
        await self._transfers.fetch_to(descriptor(url), self._directory / "fetched")

    async def fetch_gzip(self, url: str) -> None:
        await self._transfers.fetch(descriptor(url, compression="gzip"))

    async def fetch_zstd(self, url: str) -> None:
        await self._transfers.fetch(descriptor(url, compression="zstd"))

    async def fetch_sized(self, url: str) -> None:
        await self._transfers.fetch(descriptor(url, size_hint=1000))

    async def fetch_huge(self, url: str) -> None:
        await self._transfers.fetch(descriptor(url, size_hint=1 << 50))

    async def fetch_events(self, url: str) -> None:
        await self._transfers.fetch(descriptor(url, protocol="sse"))

    async def follow_events(self, url: str) -> None:
        stream = {"reconnect": False, "end_signal": "end"}
        async for _ in self._transfers.follow(descriptor(url, protocol="sse", mode="stream", stream=stream)):
            pass

    async def push(self, url: str) -> None:
        await self._transfers.push(descriptor(url, mode="push"), self._source)

    async def push_through(self, url: str) -> None:
        await self._transfers.push_through(
            descriptor(url, mode="push", method="POST"), self._source, self._directory / "said"
        )

    async def nats_pull(self, url: str) -> None:
        async with self._over_nats(url) as (puller, subject):
            await pulling.pull(
                puller, subject, WHOLE, room=pulling.PullLimits(MAX_ROWS, 1 << 30), accept=lambda got: got
            )

    async def nats_pull_columns(self, url: str) -> None:
        selector = parse_selector({"columns": ["a"]})
        async with self._over_nats(url) as (puller, subject):
            await pulling.pull(
                puller, subject, selector, room=pulling.PullLimits(MAX_ROWS, 1 << 30), accept=lambda got: got
            )

    async def nats_look(self, url: str) -> None:
        async with self._over_nats(url) as (puller, subject):
            await puller.look(subject, 5)

    @asynccontextmanager
    async def _over_nats(self, url: str) -> AsyncIterator[tuple[NatsPuller, str]]:
        """`url` is the server's and the presigned subject, with a space between them."""
        server, _, subject = url.partition(" ")
        connection = await connect(server, timeout=2)
        try:
            yield NatsPuller(connection, "asker"), subject
        finally:
            await connection.close()


async def done(verb: Callable[[str], Awaitable[None]], url: str) -> dict[str, Any]:
    began = perf_counter()
    code = error = ""
    try:
        await verb(url)
    except BrokerPlaneError as refused:
        code, error = refused.code, str(refused)
    except Exception as other:  # noqa: BLE001  # the test says what it was
        code, error = "other", repr(other)
    return {"code": code, "error": error, "seconds": perf_counter() - began, "memory": memory()["VmHWM"]}


async def main(directory: Path) -> None:
    consumer = Consumer(directory)
    print(json.dumps({"memory": memory()["VmHWM"]}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        job = json.loads(line)
        print(json.dumps(await done(getattr(consumer, job["do"]), job["url"])), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
