"""What one process uses for feeds: the rules of `plane.feeds` over their adapters on JetStream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from time import time

from broker_plane.config import Settings
from broker_plane.errors import DurableError, WireError
from broker_plane.plane.feeds.effects import Checkpoint, SubscriberState
from broker_plane.plane.feeds.limits import DurableLimits
from broker_plane.plane.feeds.orphans import sweep
from broker_plane.plane.feeds.ports import Durable, DurablePosition
from broker_plane.plane.feeds.retention import Retention
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.plane.feeds.subscriber import Subscriber
from broker_plane.plane.feeds.tables import Tables
from broker_plane.plane.feeds.version_publisher import VersionPublisher
from broker_plane.plane.feeds.version_reader import StoredVersions, VersionReader
from broker_plane.plane.ports import BodyStore
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.dead_letters import NatsDeadLetters
from broker_plane.storage.durables import NatsDurables
from broker_plane.storage.entries import NatsEntryStore
from broker_plane.storage.feeds import NatsFeedLog, NatsNoticeTail
from broker_plane.subjects.puller import NatsPuller
from broker_plane.wire.durables import parse_durable
from broker_plane.wire.feeds import Since, parse_feed
from broker_plane.wire.presigned import PullRequest, parse_durable_answer
from broker_plane.wire.selector import WHOLE


@dataclass(frozen=True, slots=True)
class FeedAdapters:
    """The feed log, versions, durables and dead letters of one process."""

    log: NatsFeedLog
    versions: VersionPublisher
    stored: StoredVersions
    durables: NatsDurables
    letters: NatsDeadLetters
    tail: NatsNoticeTail
    entries: NatsEntryStore
    store: BodyStore
    now: Callable[[], float]

    def subscriber(self, durable: Durable, retries: RetrySchedule, versions: VersionReader | None = None) -> Subscriber:
        """Return a subscriber whose cursor is kept in the plane; it reads `versions`, by default those in the store."""
        keeping = SubscriberState(self.entries, durable.name)
        return Subscriber(durable, self.durables, self.letters, versions or self.stored, keeping, retries, now=self.now)

    async def ensure_durable(self, feed: str, name: str, since: Since, ack_seconds: float) -> Durable:
        """Return the durable, created if it does not exist; a new one begins at `since`."""
        durable = Durable(name=parse_durable(name), feed=parse_feed(feed), ack_seconds=ack_seconds)
        await self.durables.ensure(durable, lambda: self.start(durable.feed, since))
        return durable

    async def start(self, feed: str, since: Since) -> int:
        """Return the stream sequence at which `since` begins."""
        last = await self.log.last(feed)
        if last is None or since == "first":
            return 1
        if since == "last":
            return last.sequence
        if since == "new":
            return last.sequence + 1
        if isinstance(since, (str, bool)):
            raise WireError("since is first, last or new, a version (whole number), or a time (unix seconds, a float)")
        async with aclosing(self.log.read(feed)) as notices:
            async for notice in notices:
                if (notice.version if isinstance(since, int) else notice.at) >= since:
                    return notice.sequence
        return last.sequence + 1

    async def delete_orphans(self, owner: str) -> int:
        """Delete the bodies of `owner`'s feeds that no version refers to, and return their number."""
        return await sweep(self.log, self.store, owner, now=self.now)


def feed_adapters(wiring: Wiring, settings: Settings) -> FeedAdapters:
    """Return the feeds of every owner, over this wiring."""
    connection = wiring.connection
    log = NatsFeedLog(connection)
    tables = Tables(wiring.store)
    durables = NatsDurables(connection, limits_of(settings))
    entries = NatsEntryStore(connection, wiring.connection.names.feed_state_bucket)

    async def positions(feed: str) -> list[DurablePosition]:
        found = await durables.positions(feed)
        versions = [await Checkpoint(entries, name).load() for name in found]
        return [replace(each, checkpoint=version) for each, version in zip(found.values(), versions, strict=True)]

    return FeedAdapters(
        log=log,
        versions=VersionPublisher(log, wiring.store, wiring.publisher, tables, positions, now=wiring.now),
        stored=StoredVersions(log, tables),
        durables=durables,
        letters=NatsDeadLetters(connection),
        tail=NatsNoticeTail(connection, log),
        entries=entries,
        store=wiring.store,
        now=wiring.now,
    )


async def guest_subscriber(
    puller: NatsPuller,
    grant: str,
    feed: str,
    durable: str,
    since: Since,
    retries: RetrySchedule,
    versions: VersionReader,
) -> Subscriber:
    """Return a subscriber without rights of its own: a bridge creates the durable, and failed notices are redelivered.

    Raises:
        DurableError: the grant is for another feed.
    """
    parse_durable(durable)
    name, its_feed = parse_durable_answer(
        await puller.request(grant, PullRequest(puller.new_number(), WHOLE, durable=durable, begin=since))
    )
    if its_feed != feed:
        raise DurableError(f"This grant is for the feed {its_feed}, and not for {feed}")
    place = Durable(name=name, feed=its_feed)
    durables = NatsDurables(puller.connection)
    return Subscriber(place, durables, None, versions, SubscriberState(None, name), retries, now=time)


def limits_of(settings: Settings) -> DurableLimits:
    """Return how many durables the holders of grants may have."""
    return DurableLimits(
        per_grant=settings.max_durables_per_grant,
        per_owner=settings.max_durables_per_owner,
        in_total=settings.max_durables,
        idle_seconds=settings.durable_idle_days * 86_400,
    )


def retention_of(settings: Settings) -> Retention:
    """Return what a feed keeps if its publisher does not say."""
    return Retention(
        versions=settings.feed_retention_versions,
        seconds=settings.feed_retention_days * 86_400,
        bytes=settings.feed_retention_bytes,
    )
