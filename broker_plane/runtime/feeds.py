"""`plane.feeds`: versions of feeds, grants for them, durables and dead letters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from difflib import get_close_matches
from typing import Any

from broker_plane.errors import FeedNotFoundError
from broker_plane.plane.feeds.changes import Changes
from broker_plane.plane.feeds.ports import DeadLetter, Durable
from broker_plane.runtime import arguments
from broker_plane.runtime.feed_adapters import FeedAdapters
from broker_plane.runtime.narrowing import Narrowed, Narrowing, known, narrowed
from broker_plane.runtime.wiring import Wiring
from broker_plane.wire.feeds import Notice, Since, parse_feed
from broker_plane.wire.urls import feed_url

DAY_SECONDS = 86_400


class Feeds:
    """The feeds of one plane. Needs the role `plane`."""

    def __init__(self, wiring: Wiring, adapters: FeedAdapters, bridge_url: str, owner: str) -> None:
        self.adapters = adapters
        """The parts below this API, for a bridge of this process and for tests."""
        self._wiring = wiring
        self._bridge_url = bridge_url
        self._owner = owner

    async def names(self) -> list[str]:
        """Return the names of all feeds that have a version."""
        return await self.adapters.log.names()

    async def latest(self, feed: str) -> Notice | None:
        """Return the notice of the newest version; None if the feed has none."""
        return await self.adapters.log.last(parse_feed(feed))

    async def check(self, feed: str) -> None:
        """Raise FeedNotFoundError unless `feed` has a version; the message suggests a similar name."""
        if await self.latest(feed) is not None:
            return
        names = await self.names()
        near = get_close_matches(feed, names, n=1)
        hint = f"Did you mean {near[0]}?" if near else "broker-plane feeds ls lists them" if names else "There are none"
        raise FeedNotFoundError(f"There is no feed {feed} here. {hint}")

    async def versions(self, feed: str) -> AsyncGenerator[Notice, None]:
        """Yield the notices of the versions that are kept, oldest first.

        Raises:
            FeedNotFoundError: the feed has no version.
        """
        found = False
        async with aclosing(self.read(feed)) as notices:
            async for notice in notices:
                found = True
                yield notice
        if not found:
            await self.check(feed)

    def read(self, feed: str, start: int = 1) -> AsyncGenerator[Notice, None]:
        """Yield the notices that are stored from the stream sequence `start` on, and end."""
        return self.adapters.log.read(parse_feed(feed), start)

    async def follow(self, feed: str, since: Since = "last") -> AsyncGenerator[Notice, None]:
        """Yield the feed's notices from `since` on, in order, without a durable cursor. Never ends."""
        start = await self.start(feed, since)
        async with aclosing(self.follow_from(feed, start)) as notices:
            async for notice in notices:
                yield notice

    def follow_from(self, feed: str, start: int) -> AsyncGenerator[Notice, None]:
        """Like `follow`, from the stream sequence `start` on."""
        return self.adapters.tail.follow(parse_feed(feed), start)

    def updated_feeds(self) -> AsyncGenerator[str, None]:
        """Yield the name of each feed that gets a version; "" if some may have been missed. Never ends."""
        return self.adapters.tail.updated_feeds()

    async def start(self, feed: str, since: Since) -> int:
        """Return the stream sequence at which `since` begins."""
        return await self.adapters.start(parse_feed(feed), since)

    async def rows(self, notice: Notice) -> Any:
        """Return all rows of a version, or the bytes of an opaque one; verified.

        Raises:
            FeedNotFoundError: retention deleted it.
        """
        return await self.adapters.stored.rows(notice)

    async def changes(self, notice: Notice, since: int) -> Changes:
        """Return what was added, changed and removed between version `since` and the notice's.

        Raises:
            FeedNotFoundError: retention deleted the version. FeedGapError: it deleted `since` too.
        """
        return await self.adapters.stored.changes(notice, since)

    async def grant(self, feed: str, *, ttl: arguments.Lifetime = DAY_SECONDS, **narrowing: Any) -> Narrowed:
        """Return a grant for `feed`, including versions to come, for `ttl` seconds.

        Its `resource_url` streams the notices (docs/feeds.md). `narrowing` are the keywords of `Plane.narrow`. Holders
        can narrow it like any grant; versions are filtered by its columns and `where`.
        """
        return await self._grant(feed, Narrowing(**narrowing), ttl)

    async def grant_checked(
        self, feed: str, narrowing: Narrowing, *, ttl: arguments.Lifetime = DAY_SECONDS
    ) -> Narrowed:
        """Return a grant like `grant`, and check the names of columns against the newest version.

        Raises:
            FeedNotFoundError: the feed has no version. SelectorError: its newest version has no such column.
        """
        newest = await self.latest(feed)
        if newest is None:
            await self.check(feed)
        return await self._grant(feed, known(narrowing, newest.body if newest else None), ttl)

    async def _grant(self, feed: str, less: Narrowing, ttl: arguments.Lifetime) -> Narrowed:
        grant = await self._wiring.grants.minting.mint_feed(parse_feed(feed), ttl=arguments.whole_seconds(ttl))
        url, names = feed_url(self._bridge_url, grant), self._wiring.connection.names
        return narrowed(url, less, bridge_url=self._bridge_url, names=names, now=self._wiring.now())

    async def durables(self) -> list[str]:
        """Return the names of all durables."""
        return list(await self.adapters.durables.names())

    async def ensure_durable(self, feed: str, name: str, since: Since = "last", ack_seconds: float = 30.0) -> Durable:
        """Return the durable, created if it does not exist; a new one begins at `since`.

        Raises:
            DurableError: it exists for another feed.
        """
        return await self.adapters.ensure_durable(feed, name, since, ack_seconds)

    async def remove_durable(self, name: str) -> None:
        """Delete a durable with its cursor. Its subscribers receive a DurableError."""
        await self.adapters.durables.remove(name)

    async def dead_letters(self, durable: str = "") -> list[DeadLetter]:
        """Return the dead letters of one durable, or of all, oldest first."""
        async with aclosing(self.adapters.letters.read()) as letters:
            return [letter async for letter in letters if durable in ("", letter.durable)]

    async def replay(self, ids: Iterable[int] = ()) -> list[DeadLetter]:
        """Redeliver these dead letters to their durables, or all of them, and return them."""
        wanted = set(ids)
        chosen = [letter for letter in await self.dead_letters() if not wanted or letter.id in wanted]
        for letter in chosen:
            await self.adapters.letters.replay(letter)
        return chosen

    async def delete_orphans(self, owner: str = "") -> int:
        """Delete the bodies of feeds that no version refers to, and return their number. The default is this owner."""
        return await self.adapters.delete_orphans(owner or self._owner)


def as_fields(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter as JSON fields."""
    return {
        "id": letter.id,
        "at": letter.at,
        "durable": letter.durable,
        "feed": letter.notice.feed,
        "version": letter.notice.version,
        "times": letter.attempts,
        "error": letter.error,
    }
