"""Ends background tasks that nobody waits for any more."""

from __future__ import annotations

import asyncio
from typing import Any


async def cancel_and_forget(task: asyncio.Future[Any]) -> None:
    """Cancel the task, and drop its result or error."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
