"""Endless answers: the next item, a heartbeat if none comes, or the end because the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from broker_plane.plane.tasks import cancel_and_forget

T = TypeVar("T")

HEARTBEAT_SECONDS = 15.0
"""A quiet connection gets a heartbeat this often, so that no proxy on the way closes it."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def items_or_heartbeats(
    items: AsyncGenerator[T, None], seconds: float = HEARTBEAT_SECONDS, leaving: asyncio.Future[None] | None = None
) -> AsyncGenerator[T | None, None]:
    """Yield the items, and None whenever `seconds` pass without one, until they end or `leaving` is done.

    An error of `items` is raised here. `items` stays open: the caller closes it.
    """
    coming = asyncio.ensure_future(anext(items))
    try:
        while leaving is None or not leaving.done():
            waiting: set[asyncio.Future[Any]] = {coming} if leaving is None else {coming, leaving}
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                try:
                    item = coming.result()
                except StopAsyncIteration:
                    return
                yield item
                coming = asyncio.ensure_future(anext(items))
            elif leaving is None or not leaving.done():
                yield None
    finally:
        await cancel_and_forget(coming)


@asynccontextmanager
async def departure(receive: Receive, closing: asyncio.Event) -> AsyncIterator[asyncio.Future[None]]:
    """For the block, a future that is done once the HTTP client has left or `closing` is set."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with first_of(asyncio.ensure_future(left()), asyncio.ensure_future(closing.wait())) as leaving:
        yield leaving


@asynccontextmanager
async def first_of(*tasks: asyncio.Future[Any]) -> AsyncIterator[asyncio.Future[None]]:
    """For the block, a future that is done once one of `tasks` is. All of them are ended after the block."""

    async def first() -> None:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    ending = asyncio.ensure_future(first())
    try:
        yield ending
    finally:
        for task in (ending, *tasks):
            await cancel_and_forget(task)
