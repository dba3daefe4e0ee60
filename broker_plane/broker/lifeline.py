"""A broker that this process may start again: calls do so, and waiting for messages does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from broker_plane.broker.client import NatsClient

_USED_SECONDS = 0.05
"""A connection that was used so recently is still there, or its break is noticed soon."""

_TURNS = 5
"""Of the event loop, after which nats-py has noticed a break that the kernel shows."""

_END_SECONDS = 5.0
"""How long nats-server may take to end after its supervisor."""


@dataclass(slots=True)
class Lifeline:
    """How a connection finds out whether such a broker runs, and starts it."""

    alive: Callable[[], bool]
    """Whether its supervisor runs; takes some microseconds."""
    start: Callable[[], Awaitable[str]]
    """Starts it if it does not run, and returns its URL."""
    used: float = 0.0
    """When a call was last made."""

    async def holds(self, client: NatsClient) -> bool:
        """Whether `client` can be used as it is. A break that was not noticed yet is noticed here."""
        now = asyncio.get_running_loop().time()
        idle, self.used = now - self.used, now
        if not client.is_connected:
            return False
        if idle < _USED_SECONDS:
            return True
        if client.hung_up:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        if client.is_connected and not self.alive():
            await self._ended(client)
        return client.is_connected

    async def _ended(self, client: NatsClient) -> None:
        deadline = asyncio.get_running_loop().time() + _END_SECONDS
        while client.is_connected and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # it waits for another process
