"""nginx, driven: it serves the same bytes as a file to the same consumers as `our_driver` has for a fan-out."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

import httpx2

from tests.bench import lines, transports
from tests.bench.fan_out import fan_out
from tests.bench.measure import Sample
from tests.bench.nginx import nginx, nginx_binary
from tests.bench.rows import opaque


class Driver:
    """The server starts when a row first needs it, and stays."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-plane-nginx-")))
        self.url = ""
        self.client: httpx2.AsyncClient | None = None

    async def about(self) -> Sample:
        """What is measured."""
        done = subprocess.run([nginx_binary(), "-v"], capture_output=True, text=True)  # noqa: ASYNC221  # a moment
        return {"nginx": done.stderr.strip().rpartition("/")[2]}

    async def fan_out(self, size: int, consumers: int) -> Sample:
        """A file of `size` bytes to each of `consumers`."""
        return await fan_out([await self.address(size)] * consumers, sha256(opaque(size)).hexdigest())

    async def get(self, size: int, fresh: bool) -> Sample:
        """A file; it is in the page cache, `fresh` or not."""
        return await transports.get(await self.http(), await self.address(size))

    async def storm(self, size: int) -> Sample:
        return await transports.storm(await self.http(), await self.address(size))

    async def http(self) -> httpx2.AsyncClient:
        if self.client is None:
            self.client = await self.stack.enter_async_context(transports.kept_client())
        return self.client

    async def address(self, size: int) -> str:
        """The URL of a file of `size` bytes."""
        if not self.url:
            (self.root / "www").mkdir()
            self.url = await self.stack.enter_async_context(nginx(self.root))
        file = self.root / "www" / str(size)
        if not file.exists():
            file.write_bytes(opaque(size))
        return f"{self.url}/{size}"


async def main() -> None:
    async with AsyncExitStack() as stack:
        await lines.serve(Driver(stack))


if __name__ == "__main__":
    asyncio.run(main())
