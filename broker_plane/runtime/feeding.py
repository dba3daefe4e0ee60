"""Feeds over a wiring: what `Plane` has of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from difflib import get_close_matches
from time import time
from typing import Any

from broker_plane.config import Settings
from broker_plane.errors import DurableError, FeedNotFoundError, WireError
from broker_plane.plane.feeds.effects import Checkpoint, SubscriberState
from broker_plane.plane.feeds.limits import DurableLimits
from broker_plane.plane.feeds.orphans import sweep
from broker_plane.plane.feeds.ports import DeadLetter, Durable, DurablePosition
from broker_plane.plane.feeds.retention import Retention
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.plane.feeds.subscriber import Subscriber
from broker_plane.plane.feeds.tables import Tables
from broker_plane.plane.feeds.version_publisher import VersionPublisher
from broker_plane.plane.feeds.version_reader import StoredVersions, VersionReader
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.dead_letters import NatsDeadLetters
from broker_plane.storage.durables import NatsDurables
from broker_plane.storage.entries import NatsEntryStore
from broker_plane.storage.feeds import NatsFeedLog, NatsNoticeTail
from broker_plane.subjects.puller import NatsPuller
from broker_plane.wire.durables import parse_durable
from broker_plane.wire.feeds import Notice, Since, parse_feed
from broker_plane.wire.presigned import PullRequest, parse_durable_answer
from broker_plane.wire.selector import WHOLE


@dataclass(frozen=True, slots=True)
class Feeding:
    """The parts of feeds that one process has."""

    log: NatsFeedLog
    versions: VersionPublisher
    stored: StoredVersions
    durables: NatsDurables
    letters: NatsDeadLetters
    tail: NatsNoticeTail
    entries: NatsEntryStore
    wiring: Wiring

    def subscriber(self, durable: Durable, tries: RetrySchedule, versions: VersionReader | None = None) -> Subscriber:
        """A subscriber whose place is kept in the plane; `versions` is where it reads, if not from the store."""
        keeping = SubscriberState(self.entries, durable.name)
        return Subscriber(
            durable, self.durables, self.letters, versions or self.stored, keeping, tries, now=self.wiring.now
        )

    async def ready(self, feed: str, name: str, since: Since, ack_seconds: float) -> Durable:
        """The durable, which exists; a new one begins at `since`."""
        durable = Durable(name=parse_durable(name), feed=parse_feed(feed), ack_seconds=ack_seconds)
        await self.durables.ensure(durable, lambda: self.start(durable.feed, since))
        return durable

    async def start(self, feed: str, since: Since) -> int:
        """The stream sequence at which `since` begins."""
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

    async def notices(self, feed: str) -> AsyncGenerator[Notice, None]:
        """The versions of a feed that are kept, oldest first.

        Raises:
            FeedNotFoundError: it has none.
        """
        found = False
        async with aclosing(self.log.read(parse_feed(feed))) as notices:
            async for notice in notices:
                found = True
                yield notice
        if not found:
            await self.check(feed)

    async def check(self, feed: str) -> None:
        """Raise FeedNotFoundError unless `feed` has a version: a name may be a slip, or a feed that is yet to come."""
        if await self.log.last(parse_feed(feed)) is not None:
            return
        names = await self.log.names()
        near = get_close_matches(feed, names, n=1)
        ways = f"Did you mean {near[0]}?" if near else "broker-plane feeds ls lists them" if names else "There are none"
        raise FeedNotFoundError(f"There is no feed {feed} here. {ways}")

    async def dead(self, durable: str = "") -> list[DeadLetter]:
        """Dead letters, oldest first; of one durable, or of all."""
        async with aclosing(self.letters.read()) as letters:
            return [letter async for letter in letters if durable in ("", letter.durable)]

    async def replay(self, ids: Sequence[int]) -> list[DeadLetter]:
        """Give these dead letters to their durables once more; empty is all."""
        chosen = [letter for letter in await self.dead() if not ids or letter.id in ids]
        for letter in chosen:
            await self.letters.replay(letter)
        return chosen

    async def sweep(self, owner: str) -> int:
        """Free bodies of feeds that no notice names; how many."""
        return await sweep(self.log, self.wiring.store, owner, now=self.wiring.now)


def feeding(wiring: Wiring, settings: Settings) -> Feeding:
    connection = wiring.connection
    log = NatsFeedLog(connection)
    tables = Tables(wiring.store)
    durables = NatsDurables(connection, limits_of(settings))
    entries = NatsEntryStore(connection, wiring.connection.names.feed_state_bucket)

    async def positions(feed: str) -> list[DurablePosition]:
        found = await durables.positions(feed)
        versions = [await Checkpoint(entries, name).load() for name in found]
        return [replace(each, checkpoint=version) for each, version in zip(found.values(), versions, strict=True)]

    return Feeding(
        log=log,
        versions=VersionPublisher(log, wiring.store, wiring.publisher, tables, positions, now=wiring.now),
        stored=StoredVersions(log, tables),
        durables=durables,
        letters=NatsDeadLetters(connection),
        tail=NatsNoticeTail(connection, log),
        entries=entries,
        wiring=wiring,
    )


async def guest_subscriber(
    asking: NatsPuller, grant: str, feed: str, durable: str, since: Since, tries: RetrySchedule, versions: VersionReader
) -> Subscriber:
    """A subscriber without rights of its own: the plane makes the durable, and what goes wrong is delivered again.

    Raises:
        DurableError: the grant is for another feed.
    """
    parse_durable(durable)
    name, its_feed = parse_durable_answer(
        await asking.request(grant, PullRequest(asking.new_number(), WHOLE, durable=durable, begin=since))
    )
    if its_feed != feed:
        raise DurableError(f"This grant is for the feed {its_feed}, and not for {feed}")
    place = Durable(name=name, feed=its_feed)
    return Subscriber(
        place, NatsDurables(asking.connection), None, versions, SubscriberState(None, name), tries, now=time
    )


def limits_of(settings: Settings) -> DurableLimits:
    """How many durables holders of grants may have."""
    return DurableLimits(
        per_grant=settings.max_durables_per_grant,
        per_owner=settings.max_durables_per_owner,
        in_total=settings.max_durables,
        idle_seconds=settings.durable_idle_days * 86_400,
    )


def retention_of(settings: Settings) -> Retention:
    """What a feed keeps whose publisher does not say."""
    return Retention(
        versions=settings.feed_retention_versions,
        seconds=settings.feed_retention_days * 86_400,
        bytes=settings.feed_retention_bytes,
    )


def as_fields(letter: DeadLetter) -> dict[str, Any]:
    """For programs."""
    return {
        "id": letter.id,
        "at": letter.at,
        "durable": letter.durable,
        "feed": letter.notice.feed,
        "version": letter.notice.version,
        "times": letter.attempts,
        "error": letter.error,
    }
