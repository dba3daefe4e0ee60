"""Streams for the SDK's dispatchers that hand items over at once. anyio's cost two turns of the event loop an item."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

import anyio

T = TypeVar("T")

_MOST_ITEMS = 64
"""Items that wait for the reader; then the writer waits."""


class QueueReader(Generic[T]):
    """A stream that the SDK reads: items are put in on the other side."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[T | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._ended = False

    async def put(self, item: T) -> None:
        """Put an item in; ignored after the end."""
        while self._items.qsize() >= _MOST_ITEMS and not self._ended:
            self._room.clear()
            await self._room.wait()
        if not self._ended:
            self._items.put_nowait(item)

    def end(self) -> None:
        """No more items follow."""
        self._ended = True
        self._room.set()
        self._items.put_nowait(None)

    async def receive(self) -> T:
        item = await self._items.get()
        self._room.set()
        if item is None:
            self._items.put_nowait(None)  # for the next reader
            raise anyio.EndOfStream
        return item

    async def aclose(self) -> None:
        self.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self.aclose()


class DirectWriter(Generic[T]):
    """A stream that the SDK writes: each item goes to `take`, one at a time, in order."""

    def __init__(self, take: Callable[[T], Awaitable[None]], ended: Callable[[], None]) -> None:
        """`ended` is called once, at the end of the stream."""
        self._take = take
        self._ended = ended
        self._lock = asyncio.Lock()
        self._closed = False

    async def send(self, item: T, /) -> None:
        async with self._lock:
            if self._closed:
                raise anyio.ClosedResourceError
            await self._take(item)

    def end(self) -> None:
        """Refuse further items."""
        if not self._closed:
            self._closed = True
            self._ended()

    async def aclose(self) -> None:
        self.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self.aclose()
