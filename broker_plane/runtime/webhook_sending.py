"""Starts the webhook senders of a bridge once the plane has feeds: without them, it has no endpoints either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from broker_plane.broker.connection import Connection
from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.first_use import FirstUse
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.layout import has_feeds

if TYPE_CHECKING:
    from broker_plane.runtime.feed_adapters import FeedAdapters
    from broker_plane.runtime.webhook_senders import WebhookSenders

_LOOK_SECONDS = 1.0


@asynccontextmanager
async def sending_webhooks(
    wiring: Wiring, feeds: FirstUse[FeedAdapters], settings: Settings, bridge_url: str
) -> AsyncIterator[None]:
    """Run a sender for every active endpoint until the block ends."""

    def senders() -> WebhookSenders:
        from broker_plane.runtime.webhook_senders import WebhookSenders

        return WebhookSenders(wiring, feeds.now(), settings, bridge_url)

    async def send() -> None:
        while not await _has_feeds(wiring.connection):  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(_LOOK_SECONDS)
        await (await FirstUse(senders).get()).run()

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        await cancel_and_forget(task)


async def _has_feeds(connection: Connection) -> bool:
    try:
        return await has_feeds(connection)
    except BrokerPlaneError:
        return False
