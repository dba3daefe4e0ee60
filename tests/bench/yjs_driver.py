"""`@y/websocket-server`, driven: the same participants edit a document that it keeps in memory."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

from tests.bench import lines, yjs
from tests.bench.measure import Sample


class Driver:
    """The server starts when a row first needs it, and stays; each row has a document of its own."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.url = ""

    async def about(self) -> Sample:
        """What is measured."""
        return yjs.versions()

    async def together(self, **asked: int) -> Sample:
        """Edits of so many participants."""
        if not self.url:
            self.url = await self.stack.enter_async_context(yjs.websocket_server())
        return await yjs.load(self.url, uuid4().hex, **asked)


async def main() -> None:
    async with AsyncExitStack() as stack:
        await lines.serve(Driver(stack))


if __name__ == "__main__":
    asyncio.run(main())
