"""Endless answers: the next item, or a heartbeat if none comes in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

from broker_plane.plane.tasks import abandoned

T = TypeVar("T")


async def items_or_heartbeats(items: AsyncGenerator[T, None], seconds: float) -> AsyncGenerator[T | None, None]:
    """Yield the items, and None whenever `seconds` pass without one. The caller closes `items`."""
    coming = asyncio.ensure_future(anext(items))
    try:
        while True:
            await asyncio.wait({coming}, timeout=seconds)
            if not coming.done():
                yield None
                continue
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            yield item
            coming = asyncio.ensure_future(anext(items))
    finally:
        await abandoned(coming)
