"""Feeds of a server: declared, published by its tools, read as resources, and heard of by every listening client.

`subscriptions/listen` (SEP-2575) is level-triggered: a client hears that a feed's resource changed and reads it again.
So it is enough to say so once more after what may have been missed.
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
from broker_plane.mcp_server.plane_holder import PlaneHold
from broker_plane.tabular.json_values import dumps
from broker_plane.wire.names import RESOURCE_SCHEME

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published

_PAUSE_SECONDS = 0.5
GRANT_SECONDS = 86_400


def feed_uri(feed: str) -> str:
    """The resource of a feed: its newest version."""
    return f"{RESOURCE_SCHEME}://feed/{feed}"


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed that a server declares. `key` names the columns that tell its rows apart."""

    name: str
    key: tuple[str, ...]
    description: str
    hold: PlaneHold

    async def publish(self, rows: Any, **options: Any) -> Published:
        """Publish the next version; `options` are those of `Plane.publish`."""
        plane = await self.hold.plane()
        return await plane.publish(rows, feed=self.name, key=self.key or None, **options)

    async def read(self) -> str:
        """The resource: what is known of the newest version, and a grant that leads to it and to those to come."""
        try:
            plane = await self.hold.plane()
            notice = await plane.feeds.latest(self.name)
            fields: dict[str, Any] = {"feed": self.name, "version": 0} if notice is None else notice.to_wire()
            granted = await plane.feeds.grant(self.name, ttl=GRANT_SECONDS)
        except BrokerPlaneError as error:
            raise ResourceError(str(error)) from error
        return dumps(fields | {"resource_url": granted.resource_url}).decode()


class FeedBus:
    """The SDK's SubscriptionBus: what this process publishes, and the versions that any process publishes.

    It listens to NATS while a client listens to it.
    """

    def __init__(self, hold: PlaneHold, feeds: dict[str, Feed]) -> None:
        self._hold = hold
        self._feeds = feeds
        self._local = InMemorySubscriptionBus()
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None

    async def publish(self, event: ServerEvent) -> None:
        """Tell everyone who listens to this process."""
        await self._local.publish(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Register `listener`; the answer takes it back."""
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
                plane = await self._hold.plane()
                async with aclosing(plane.feeds.updated_feeds()) as news:
                    async for feed in news:
                        await self._tell([feed] if feed else list(self._feeds))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _tell(self, feeds: Sequence[str]) -> None:
        for feed in feeds:
            if feed in self._feeds:
                await self._local.publish(ResourceUpdated(uri=feed_uri(feed)))
