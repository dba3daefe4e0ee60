"""Reads versions of a feed with a grant, over the presigned subject: the VersionReader port of grant holders."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol

from broker_plane.errors import BodyLostError, BodyNotFoundError, FeedNotFoundError
from broker_plane.plane.bodies.pull import frames_of, pieces_of
from broker_plane.plane.feeds.changes import (
    Changes,
    check_rows,
    compare_versions,
    feed_gap,
    from_delta,
    initial_changes,
    no_changes,
    version_deleted,
)
from broker_plane.subjects.puller import NatsPuller
from broker_plane.tabular.codec import FrameReader
from broker_plane.tabular.delta import read_delta
from broker_plane.wire.feeds import Notice
from broker_plane.wire.presigned import PullRequest, parse_changes
from broker_plane.wire.selector import WHOLE


class Asking(Protocol):
    """Provides a puller for an address."""

    def puller_for(self, address: str) -> AbstractAsyncContextManager[NatsPuller]:
        """Return a puller that may send requests with the grant in `address`, for the time of the block."""


class GrantedVersions:
    """The VersionReader port. The plane applies the grant's scope before it sends anything."""

    def __init__(self, puller: Asking, address: str) -> None:
        self._puller = puller
        self._address = address

    async def rows(self, notice: Notice) -> Any:
        """As `VersionReader.rows`."""
        try:
            return await self._rows(notice.version)
        except (BodyNotFoundError, BodyLostError) as error:
            raise version_deleted(notice) from error

    async def _rows(self, version: int) -> Any:
        async with (
            self._puller.puller_for(self._address) as asking,
            asking.pull(self._address, WHOLE, version) as incoming,
        ):
            if incoming.kind == "bytes":
                return b"".join([piece async for piece in pieces_of(incoming)])
            async with aclosing(frames_of(incoming, WHOLE)) as frames:
                return [row async for frame in frames for row in frame.rows()]

    async def changes(self, notice: Notice, since: int) -> Changes:
        """As `VersionReader.changes`."""
        if since >= notice.version:
            return no_changes(notice, since)
        check_rows(notice)
        if since < 1:
            return initial_changes(notice, await self.rows(notice))
        async with self._puller.puller_for(self._address) as asking:
            answer = parse_changes(
                await asking.request(
                    self._address, PullRequest(asking.new_number(), WHOLE, version=notice.version, since=since)
                )
            )
        if not answer.whole:
            rows = [row for frame in FrameReader().feed(answer.data) for row in frame.decode(WHOLE).rows()]
            return from_delta(notice, since, read_delta(rows, notice.key), len(answer.data))
        # The plane sends changes only if they fit into a message; larger ones are computed here.
        try:
            old = await self._rows(since)
        except (FeedNotFoundError, BodyNotFoundError, BodyLostError) as error:
            raise feed_gap(notice, since) from error
        return compare_versions(notice, await self.rows(notice), since, [] if isinstance(old, bytes) else old)
