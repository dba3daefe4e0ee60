"""What the presigned subject answers to a grant for a feed: versions, changes, and a durable for the asker."""

from __future__ import annotations

from functools import partial

from broker_plane.errors import WireError
from broker_plane.plane.feeds.granted import GrantedFeeds
from broker_plane.plane.feeds.places import IDLE_SECONDS, Start
from broker_plane.plane.feeds.ports import Durable, Durables
from broker_plane.plane.grants import Opened
from broker_plane.plane.scoped import ScopedBody
from broker_plane.tabular.delta import Delta, delta_rows
from broker_plane.tabular.rows import encode_rows
from broker_plane.wire.durables import guest_durable, parse_durable
from broker_plane.wire.presigned import IN_ANSWER_BYTES, ChangesAnswer, PullRequest, pack_durable


class FeedAnswers:
    """Answers for one bridge."""

    def __init__(self, feeds: GrantedFeeds, durables: Durables, start: Start) -> None:
        self._feeds = feeds
        self._durables = durables
        self._start = start

    async def answer(self, opened: Opened, asker: str, request: PullRequest) -> bytes | ScopedBody:
        """The whole answer, or the body of a version that is to be delivered.

        Raises:
            WireError, FeedNotFoundError, DurableError, ForbiddenError.
        """
        feed = await self._feeds.of(opened)
        if request.durable:
            # Its name begins with the asker's, which nats-server has checked: nobody takes another one's notices.
            name = parse_durable(guest_durable(asker, request.durable))
            durable = Durable(name=name, feed=feed.name, idle_seconds=IDLE_SECONDS)
            await self._durables.ensure(durable, lambda: self._start(feed.name, request.begin))
            return pack_durable(name, feed.name)
        if request.version is None:
            raise WireError("This grant is for a feed; say which version of it, 0 for the newest")
        notice = await self._feeds.version(feed, request.version or None)
        if request.since is None:
            return await self._feeds.body(feed, notice)
        changes = await self._feeds.changes(feed, notice, request.since)
        if changes is None:
            return ChangesAnswer(whole=True).pack()
        encode = partial(_encoded, changes.delta)
        raw = await self._feeds.account(feed).do(len(changes.delta), encode)
        return ChangesAnswer(whole=True).pack() if len(raw) > IN_ANSWER_BYTES else ChangesAnswer(False, raw).pack()


def _encoded(delta: Delta) -> bytes:
    return b"".join(encode_rows(delta_rows(delta)))
