"""Plane's feeds: subscribing to them, granting them, and webhooks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

from broker_plane.errors import NotPermittedError
from broker_plane.plane.feeds.message import FeedMessage
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.plane.feeds.subscriber import Subscriber
from broker_plane.runtime import arguments
from broker_plane.runtime.feeding import guest_subscriber
from broker_plane.runtime.hooks import Hooking, hooking
from broker_plane.runtime.narrowing import Narrowed
from broker_plane.runtime.parts import Parts
from broker_plane.subjects.feed_versions import GrantedVersions
from broker_plane.wire.feeds import Notice, Since, parse_feed
from broker_plane.wire.urls import feed_url


class Subscribing(Parts):
    """What subscribes."""

    async def subscribe(
        self,
        feed: str,
        *,
        durable: str,
        since: Since = "last",
        tries: RetrySchedule | None = None,
        ack_seconds: float = 30.0,
        grant: str = "",
    ) -> AsyncGenerator[FeedMessage, None]:
        """The notices of `feed`, in order and for ever, from where `durable` is.

        A notice is taken when the next one is asked for. Where the loop is left, it comes again, to whoever subscribes
        with the same durable, after a while of `tries.schedule`; after the last of these it is a dead letter. Several
        processes may share a durable: one notice is under way at a time, and one that is silent about it for
        `ack_seconds` because it died has it taken away.

        A new durable begins at `since`: "last" (the newest version there is), "first", "new", a version, or a time in
        unix seconds (a float).

        With `grant`, of `grant_feed`, versions and changes are pulled with it: what it hides never comes here. A guest
        needs one; its durable is its own (`<asker>_<durable>`), made by the plane, and keeps its place only.

        Raises:
            DurableError: the durable is of another feed, or was removed.
            GrantError: the grant opens nothing, or not this.
        """
        async with (
            self._subscriber(feed, durable, since, tries, ack_seconds, grant) as subscriber,
            aclosing(subscriber.messages()) as messages,
        ):
            async for message in messages:
                yield message

    async def on_notice(
        self,
        feed: str,
        handle: Callable[[FeedMessage], Awaitable[object]],
        *,
        durable: str,
        since: Since = "last",
        tries: RetrySchedule | None = None,
        ack_seconds: float = 30.0,
        grant: str = "",
    ) -> None:
        """Call `handle` with every notice of `feed`, for ever: as `subscribe`, for who goes on after an error.

        The error of the last try stands in the dead letter.
        """
        async with self._subscriber(feed, durable, since, tries, ack_seconds, grant) as subscriber:
            await subscriber.run(handle)

    async def grant_feed(self, feed: str, *, ttl: int = 86_400, **less: Any) -> Narrowed:
        """A grant for `feed`, its coming versions included, for `ttl` seconds; `less` narrows it as `narrow` does.

        Its `resource_url` streams the notices (docs/feeds.md). Who has it narrows it further as any grant; a version
        is shown within its columns and `where`.
        """
        grant = await self._reading.grants.minting.mint_feed(parse_feed(feed), ttl=arguments.whole_seconds(ttl))
        return self.narrow(feed_url(self.bridge_url, grant), **less)

    async def notices(self, feed: str, since: Since = "last") -> AsyncGenerator[Notice, None]:
        """Notices of `feed` for who looks on and keeps no place: from `since`, in order and for ever."""
        feeds = self.feeds
        start = await feeds.start(parse_feed(feed), since)
        async with aclosing(feeds.tail.follow(feed, start)) as notices:
            async for notice in notices:
                yield notice

    def webhooks(self) -> AbstractAsyncContextManager[Hooking]:
        """`async with plane.webhooks() as hooks:` the receivers that are told of feeds by HTTP; bridges send."""
        return hooking(self.feeds, self.settings)

    @asynccontextmanager
    async def _subscriber(
        self, feed: str, durable: str, since: Since, tries: RetrySchedule | None, ack_seconds: float, grant: str
    ) -> AsyncIterator[Subscriber]:
        granted = GrantedVersions(self._nats, grant) if grant else None
        if self.settings.role == "plane":
            place = await self.feeds.ready(feed, durable, since, ack_seconds)
            yield self.feeds.subscriber(place, tries or RetrySchedule(), granted)
            return
        if granted is None:
            raise NotPermittedError("Without the rights of the user plane a subscription needs grant=, of grant_feed")
        async with self._nats.puller_for(grant) as asking:
            yield await guest_subscriber(asking, grant, feed, durable, since, tries or RetrySchedule(), granted)
