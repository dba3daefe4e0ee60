"""Work that was begun before it was known whether it is needed."""

from __future__ import annotations

import asyncio
from typing import Any


async def abandoned(task: asyncio.Task[Any]) -> None:
    """End the task, and drop its result or error."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
