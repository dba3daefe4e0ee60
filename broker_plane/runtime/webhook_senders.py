"""The webhook senders of a bridge.

Every bridge runs a sender for every endpoint. The senders share the endpoint's durable, so one of them at a time sends
an event, and another takes over when a bridge dies.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.plane.feeds.webhook_sender import FeedSender
from broker_plane.runtime.feed_adapters import FeedAdapters
from broker_plane.runtime.narrowing import Narrowing, narrowed
from broker_plane.runtime.webhooks import LazyPost, Webhooks, durable_of
from broker_plane.runtime.wiring import Wiring
from broker_plane.wire.feeds import Notice
from broker_plane.wire.urls import feed_url
from broker_plane.wire.webhooks import Endpoint

_REFRESH_SECONDS = 1.0
_GRANT_SECONDS = 7 * 86_400
_JITTER = 0.1


class WebhookSenders:
    """One task per endpoint, started and cancelled as endpoints come and go."""

    def __init__(self, wiring: Wiring, feeds: FeedAdapters, settings: Settings, bridge_url: str) -> None:
        self._wiring = wiring
        self._feeds = feeds
        self._hooks = Webhooks(wiring, feeds, settings)
        self._post = LazyPost(settings)
        self._bridge_url = bridge_url
        self._retries = RetrySchedule(
            delays=tuple(map(float, settings.webhook_retry_delays_seconds.split(","))), jitter=_JITTER
        )
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Run a sender for every active endpoint, until it is cancelled."""
        try:
            while True:
                with suppress(BrokerPlaneError):
                    await self._refresh()
                await asyncio.sleep(_REFRESH_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await self._post.close()
            await self._hooks.close()

    async def _refresh(self) -> None:
        # A plane without feeds has no streams for them, and this must not create any.
        if not await self._feeds.log.exists():
            return
        endpoints = await self._hooks.list()
        now = self._feeds.now()
        for endpoint in endpoints:
            if not endpoint.alive(now):
                await self._hooks.remove(endpoint.id)
        active = {each.id: each for each in endpoints if each.state == "active" and each.alive(now)}
        for inactive in [number for number in self._tasks if number not in active]:
            self._tasks.pop(inactive).cancel()
        for number, endpoint in active.items():
            if number not in self._tasks or self._tasks[number].done():
                self._tasks[number] = asyncio.create_task(self._send(endpoint))

    async def _send(self, endpoint: Endpoint) -> None:
        hooks, now = self._hooks, self._feeds.now
        sender = FeedSender(endpoint, hooks.endpoints, self._post, self._address, hooks.attempt_log, now=now)
        with suppress(BrokerPlaneError):  # the next refresh starts it again
            await self._feeds.subscriber(durable_of(endpoint), self._retries).run(sender.send)

    async def _address(self, endpoint: Endpoint, notice: Notice) -> str:
        """Return the URL of the version for this receiver, with a grant of its own."""
        grant = await self._wiring.grants.minting.mint_feed(notice.feed, ttl=_GRANT_SECONDS)
        url = feed_url(self._bridge_url, grant)
        less = Narrowing(columns=endpoint.columns, where=endpoint.where)
        made = narrowed(
            url, less, bridge_url=self._bridge_url, names=self._wiring.connection.names, now=self._feeds.now()
        )
        return f"{made.resource_url}/{notice.version}"
