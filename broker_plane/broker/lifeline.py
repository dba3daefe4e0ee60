"""A broker that this process may start again: whoever calls does so, whoever only waits does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from broker_plane.broker.client import NatsClient

_USED_SECONDS = 0.05
"""Who was connected so short a time ago still is, or will be told."""

_TURNS = 5
"""Of the event loop, in which an end that has already come is noticed."""

_END_SECONDS = 5.0
"""For a nats-server to end whose supervisor has."""


@dataclass(slots=True)
class Lifeline:
    """What a connection to such a broker knows about it."""

    alive: Callable[[], bool]
    """Whether its supervisor lives; costs some microseconds."""
    start: Callable[[], Awaitable[str]]
    """Has it started, where it does not run, and says where it is."""
    used: float = 0.0
    """When a call last went out."""

    async def holds(self, client: NatsClient) -> bool:
        """Whether `client` can be used as it is. An end that nobody has read yet is noticed here."""
        now = asyncio.get_running_loop().time()
        idle, self.used = now - self.used, now
        if not client.is_connected:
            return False
        if idle < _USED_SECONDS:
            return True
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if client.is_connected and not self.alive():
            await self._ended(client)
        return client.is_connected

    async def _ended(self, client: NatsClient) -> None:
        deadline = asyncio.get_running_loop().time() + _END_SECONDS
        while client.is_connected and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # what is waited for is in another process
