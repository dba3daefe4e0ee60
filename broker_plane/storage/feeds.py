"""Notices in the stream BP_FEEDS: one subject a feed, committed on condition of the subject's last sequence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from nats.aio.msg import Msg

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every, newest
from broker_plane.errors import BrokerUnavailableError, StorageError
from broker_plane.storage.layout import ensure_feeds, has_feeds
from broker_plane.wire.durables import FEEDS
from broker_plane.wire.feeds import FEED_SUBJECT, NEW_SUBJECT, VERSION_HEADER, Notice, feed_subject, parse_notice

_FIRST = 4
"""Whoever looks at the oldest notices only does not read hundreds of them."""

_AWAY_SECONDS = 0.1
_MOST_FEEDS = 100_000


class NatsFeedLog:
    """The FeedLog port. The streams are made at the first use, for which the rights of PLANE are needed."""

    def __init__(self, connection: Connection, replicas: int = 1) -> None:
        self._connection = connection
        self._replicas = replicas
        self._ensured = False

    async def ensure(self) -> None:
        """The streams exist. Who has no feeds has none of them."""
        if not self._ensured:
            await ensure_feeds(self._connection, self._replicas)
            self._ensured = True

    async def there(self) -> bool:
        """Whether the streams are there; to ask makes none."""
        return self._ensured or await has_feeds(self._connection)

    async def last(self, feed: str) -> Notice | None:
        await self.ensure()
        found = await newest(self._connection, FEEDS, feed_subject(feed))
        return notice_of(found) if found is not None else None

    async def commit(self, notice: Notice, after: int) -> int:
        version = {VERSION_HEADER: str(notice.version)}
        return await store_after(self._connection, FEEDS, feed_subject(notice.feed), notice.pack(), after, version)

    async def read(self, feed: str, start: int = 1) -> AsyncGenerator[Notice, None]:
        await self.ensure()
        async with aclosing(every(self._connection, FEEDS, feed_subject(feed), start, first=_FIRST)) as messages:
            async for message in messages:
                yield notice_of(message)

    async def drop(self, notice: Notice) -> None:
        try:
            await self._connection.asked(f"STREAM.MSG.DELETE.{FEEDS}", {"seq": notice.sequence, "no_erase": True})
        except StorageError as error:
            if "10057" not in error.reason and "10037" not in error.reason:  # it is gone already
                raise

    async def names(self) -> list[str]:
        await self.ensure()
        info = await self._connection.asked(f"STREAM.INFO.{FEEDS}", {"subjects_filter": f"{FEED_SUBJECT}>"})
        subjects = info["state"].get("subjects") or {}
        return sorted(subject.removeprefix(FEED_SUBJECT) for subject in subjects)[:_MOST_FEEDS]


class NatsTail:
    """Notices as they come, for those who keep no place in the broker.

    nats-server says on `bp.new.<feed>` what it has just stored (republish, ADR-28). That may be lost, so it only says
    *look*: what is told is always read from the stream, in its order.
    """

    def __init__(self, connection: Connection, log: NatsFeedLog) -> None:
        self._connection = connection
        self._log = log

    async def news(self) -> AsyncGenerator[str, None]:
        """The feed of each version that is stored, whoever published it. Empty: some may have been missed before."""
        await self._log.ensure()
        while True:
            try:
                await self._connection.reachable()
                async with self._connection.listening(f"{NEW_SUBJECT}>") as listening:
                    await self._connection.api("INFO")  # answered after the subscription stands
                    yield ""
                    while True:
                        yield (await listening.next(None)).subject.removeprefix(NEW_SUBJECT)
            except BrokerUnavailableError:
                await asyncio.sleep(_AWAY_SECONDS)

    async def follow(self, feed: str, start: int) -> AsyncGenerator[Notice, None]:
        """The notices of `feed` from the sequence `start` on, for ever."""
        sequence = start
        await self._log.ensure()
        while True:
            try:
                await self._connection.reachable()
                async with self._connection.listening(NEW_SUBJECT + feed) as listening:
                    while True:
                        async with aclosing(self._log.read(feed, sequence)) as notices:
                            async for notice in notices:
                                sequence = notice.sequence + 1
                                yield notice
                        await listening.next(None)
            except BrokerUnavailableError:
                await asyncio.sleep(_AWAY_SECONDS)


def notice_of(message: Msg) -> Notice:
    """The notice in a message that was read directly."""
    return parse_notice(message.data, sequence_of(message))
