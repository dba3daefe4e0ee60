"""Subscribing to feeds: with the rights of the plane, or as a guest with a grant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from broker_plane.errors import NotPermittedError
from broker_plane.plane.feeds.message import FeedMessage
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.plane.feeds.subscriber import Subscriber
from broker_plane.runtime.feed_adapters import FeedAdapters, guest_subscriber
from broker_plane.runtime.roles import NatsWay
from broker_plane.subjects.feed_versions import GrantedVersions
from broker_plane.wire.feeds import Since


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSubscription:
    """What one subscription asks for; see `Plane.subscribe`."""

    feed: str
    durable: str
    since: Since = "last"
    retries: RetrySchedule = field(default_factory=RetrySchedule)
    ack_seconds: float = 30.0
    grant: str = ""


@asynccontextmanager
async def subscriber(asked: FeedSubscription, nats: NatsWay, feeds: FeedAdapters | None) -> AsyncIterator[Subscriber]:
    """A subscriber for the time of the block; without `feeds` it is a guest's.

    Raises:
        NotPermittedError: it is a guest's, and there is no grant.
    """
    granted = GrantedVersions(nats, asked.grant) if asked.grant else None
    if feeds is not None:
        durable = await feeds.ensure_durable(asked.feed, asked.durable, asked.since, asked.ack_seconds)
        yield feeds.subscriber(durable, asked.retries, granted)
        return
    if granted is None:
        raise NotPermittedError("Without the role plane a subscription needs grant=, from plane.feeds.grant")
    async with nats.puller_for(asked.grant) as puller:
        yield await guest_subscriber(
            puller, asked.grant, asked.feed, asked.durable, asked.since, asked.retries, granted
        )


async def subscribed(
    asked: FeedSubscription, nats: NatsWay, feeds: FeedAdapters | None
) -> AsyncGenerator[FeedMessage, None]:
    """Yield messages as `Plane.subscribe` says."""
    async with subscriber(asked, nats, feeds) as found, aclosing(found.messages()) as messages:
        async for message in messages:
            yield message
