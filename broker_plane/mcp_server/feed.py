"""Feeds of a server: declared by it, published by its tools, read as resources, and announced to listening clients.

`subscriptions/listen` (SEP-2575) is level-triggered: a client is notified that a feed's resource changed and reads it
again. So after an interruption one more notification makes up for those that may have been missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.exceptions import ResourceError
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated, ServerEvent

from broker_plane.errors import BrokerPlaneError
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.wire.names import RESOURCE_SCHEME

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published

_PAUSE_SECONDS = 0.5
GRANT_SECONDS = 86_400


def feed_uri(feed: str) -> str:
    """The URI of the resource with a feed's newest version."""
    return f"{RESOURCE_SCHEME}://feed/{feed}"


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed that a server declares. `key` names the columns that identify a row."""

    name: str
    key: tuple[str, ...]
    description: str
    holder: PlaneHolder

    async def publish(self, rows: Any, **options: Any) -> Published:
        """Publish the next version; `options` are those of `Plane.publish`."""
        plane = await self.holder.plane()
        return await plane.publish(rows, feed=self.name, key=self.key or None, **options)

    async def read(self) -> str:
        """The resource: a description of the newest version, and a grant for it and for later versions."""
        try:
            plane = await self.holder.plane()
            notice = await plane.feeds.latest(self.name)
            fields: dict[str, Any] = {"feed": self.name, "version": 0} if notice is None else notice.to_wire()
            granted = await plane.feeds.grant(self.name, ttl=GRANT_SECONDS)
        except BrokerPlaneError as error:
            raise ResourceError(str(error)) from error
        return json_bytes(fields | {"resource_url": granted.resource_url}).decode()


class FeedBus:
    """The SDK's SubscriptionBus: events of this process, and feed versions that any process publishes.

    It listens to NATS while at least one client listens to it.
    """

    def __init__(self, holder: PlaneHolder, feeds: dict[str, Feed]) -> None:
        self._holder = holder
        self._feeds = feeds
        self._local = InMemorySubscriptionBus()
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None

    async def publish(self, event: ServerEvent) -> None:
        """Notify every listener of this process."""
        await self._local.publish(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Register `listener`; the returned function removes it."""
        leave = self._local.subscribe(listener)
        self._listeners += 1
        if self._task is None and self._feeds:
            self._task = asyncio.get_running_loop().create_task(self._watch())
        left = False

        def unsubscribe() -> None:
            nonlocal left
            leave()
            if not left:
                left = True
                self._listeners -= 1
                if not self._listeners and self._task is not None:
                    self._task.cancel()
                    self._task = None

        return unsubscribe

    async def _watch(self) -> None:
        while True:
            with suppress(BrokerPlaneError):
                plane = await self._holder.plane()
                async with aclosing(plane.feeds.updated_feeds()) as news:
                    async for feed in news:
                        await self._announce([feed] if feed else list(self._feeds))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _announce(self, feeds: Sequence[str]) -> None:
        for feed in feeds:
            if feed in self._feeds:
                await self._local.publish(ResourceUpdated(uri=feed_uri(feed)))
