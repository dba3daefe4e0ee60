"""The FeedLog port: notices in the JetStream stream BP_FEEDS, one subject for each feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every, newest
from broker_plane.broker.messages import Message
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import BrokerUnavailableError, StorageError
from broker_plane.storage.layout import ensure_feeds, has_feeds
from broker_plane.wire.feeds import VERSION_HEADER, Notice, parse_notice

_FIRST_BATCH = 4
"""Readers that need only the oldest notices do not fetch hundreds."""

_RECONNECT_SECONDS = 0.1
_MAX_FEEDS = 100_000


class NatsFeedLog:
    """The FeedLog port. Its JetStream streams are created at the first use, by the user `plane`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names = connection.names
        self._ensured = False

    async def ensure(self) -> None:
        """Create the JetStream streams unless they exist."""
        if not self._ensured:
            await ensure_feeds(self._connection)
            self._ensured = True

    async def exists(self) -> bool:
        """Return whether the JetStream streams exist; this creates none."""
        return self._ensured or await has_feeds(self._connection)

    async def last(self, feed: str) -> Notice | None:
        """As `FeedLog.last`."""
        await self.ensure()
        found = await newest(self._connection, self._names.feeds_stream, self._names.feed_subject(feed))
        return notice_of(found) if found is not None else None

    async def commit(self, notice: Notice, after: int) -> int:
        """As `FeedLog.commit`: stored on condition of the subject's last sequence."""
        version = {VERSION_HEADER: str(notice.version)}
        return await store_after(
            self._connection,
            self._names.feeds_stream,
            self._names.feed_subject(notice.feed),
            notice.pack(),
            after,
            version,
        )

    async def read(self, feed: str, start: int = 1) -> AsyncGenerator[Notice, None]:
        """As `FeedLog.read`."""
        await self.ensure()
        async with aclosing(
            every(self._connection, self._names.feeds_stream, self._names.feed_subject(feed), start, first=_FIRST_BATCH)
        ) as messages:
            async for message in messages:
                yield notice_of(message)

    async def drop(self, notice: Notice) -> None:
        """As `FeedLog.drop`."""
        try:
            await self._connection.retrying_api(
                f"STREAM.MSG.DELETE.{self._names.feeds_stream}", {"seq": notice.sequence, "no_erase": True}
            )
        except StorageError as error:
            if "10057" not in error.reason and "10037" not in error.reason:  # deleted already
                raise

    async def names(self) -> list[str]:
        """As `FeedLog.names`."""
        await self.ensure()
        info = await self._connection.retrying_api(
            f"STREAM.INFO.{self._names.feeds_stream}",
            {"subjects_filter": self._names.feed_subject(">")},
        )
        subjects = info["state"].get("subjects") or {}
        return sorted(subject.removeprefix(self._names.feed_subject("")) for subject in subjects)[:_MAX_FEEDS]


class NatsNoticeTail:
    """Notices as they are published, without a durable.

    nats-server announces on `bp.new.<feed>` what it has stored (republish, ADR-28). Such messages may be lost, so they
    only trigger a read: notices are always read from the JetStream stream, in its order.
    """

    def __init__(self, connection: Connection, log: NatsFeedLog) -> None:
        self._connection = connection
        self._names = connection.names
        self._log = log

    async def updated_feeds(self) -> AsyncGenerator[str, None]:
        """Yield the feed of each version that is stored, by any publisher. Empty: some may have been missed before."""
        await self._log.ensure()
        while True:
            try:
                await self._connection.wait_connected()
                async with self._connection.subscribe(self._names.new_subject(">")) as announced:
                    await self._connection.api("INFO")  # answered once the subscription is established
                    yield ""
                    while True:
                        yield (await announced.next(None)).subject.removeprefix(self._names.new_subject(""))
            except BrokerUnavailableError:
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def follow(self, feed: str, start: int) -> AsyncGenerator[Notice, None]:
        """Yield the notices of `feed` from the sequence `start` on, without end."""
        following = start
        await self._log.ensure()
        while True:
            try:
                await self._connection.wait_connected()
                async with (
                    self._connection.subscribe(self._names.new_subject(feed)) as announced,
                    aclosing(self._read(feed, following, announced)) as notices,
                ):
                    async for notice in notices:
                        following = notice.sequence + 1
                        yield notice
            except BrokerUnavailableError:
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _read(self, feed: str, start: int, announced: Subscription) -> AsyncGenerator[Notice, None]:
        """Read the notices from `start` on, and again after each announcement."""
        while True:
            async with aclosing(self._log.read(feed, start)) as notices:
                async for notice in notices:
                    start = notice.sequence + 1
                    yield notice
            await announced.next(None)


def notice_of(message: Message) -> Notice:
    """Return the notice in a message that was read directly."""
    return parse_notice(message.data, sequence_of(message))
