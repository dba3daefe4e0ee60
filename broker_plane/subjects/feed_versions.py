"""Versions of a feed as a grant shows them, over the presigned subject: the Versioned port of a grant's holder."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol

from broker_plane.errors import BodyLostError, BodyNotFoundError, FeedNotFoundError
from broker_plane.plane.bodies.pull import frames_of, pieces_of
from broker_plane.plane.feeds.changes import Changes, check_rows, compared, first, gap, taken
from broker_plane.subjects.puller import NatsPuller
from broker_plane.tabular.codec import FrameReader
from broker_plane.tabular.delta import Delta, read_delta
from broker_plane.wire.feeds import Notice
from broker_plane.wire.presigned import PullRequest, parse_changes
from broker_plane.wire.selector import WHOLE


class Asking(Protocol):
    """Whoever has a connection on which it may ask with a grant."""

    def puller_for(self, address: str) -> AbstractAsyncContextManager[NatsPuller]:
        """Who asks with the grant in `address`, for the time of the block."""


class GrantedVersions:
    """The Versioned port. Nothing that the grant hides comes here: the plane cuts it before it sends."""

    def __init__(self, puller: Asking, address: str) -> None:
        self._puller = puller
        self._address = address

    async def rows(self, notice: Notice) -> Any:
        try:
            return await self._rows(notice.version)
        except (BodyNotFoundError, BodyLostError) as error:
            raise taken(notice) from error

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
        if since >= notice.version:
            return Changes(notice.feed, notice.key, since, notice.version, False, 0, Delta())
        check_rows(notice)
        if since < 1:
            return first(notice, await self.rows(notice))
        async with self._puller.puller_for(self._address) as asking:
            answer = parse_changes(
                await asking.request(
                    self._address, PullRequest(asking.new_number(), WHOLE, version=notice.version, since=since)
                )
            )
        if not answer.whole:
            rows = [row for frame in FrameReader().feed(answer.data) for row in frame.decode(WHOLE).rows()]
            delta = read_delta(rows, notice.key)
            return Changes(notice.feed, notice.key, since, notice.version, False, len(answer.data), delta)
        # The plane sends no more than fits into a message; what is more is found out here.
        try:
            old = await self._rows(since)
        except (FeedNotFoundError, BodyNotFoundError, BodyLostError) as error:
            raise gap(notice, since) from error
        return compared(notice, await self.rows(notice), since, [] if isinstance(old, bytes) else old)
