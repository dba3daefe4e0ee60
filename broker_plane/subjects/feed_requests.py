"""Answers requests on the presigned subject of a feed: versions, changes, and a durable for the puller."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from broker_plane.errors import ForbiddenError, WireError
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.feeds.access import GrantedFeeds, OpenFeed
from broker_plane.plane.feeds.http_durables import Start, payer_of
from broker_plane.plane.feeds.limits import DurableLimits
from broker_plane.plane.feeds.ports import Durable, Durables
from broker_plane.plane.grants.grants import Opened
from broker_plane.tabular.delta import Delta, delta_rows
from broker_plane.tabular.rows import encode_rows
from broker_plane.wire.durables import GUESTS_DURABLE, guest_durable, parse_durable
from broker_plane.wire.presigned import ChangesAnswer, PullRequest, pack_durable
from broker_plane.wire.presigned_sizes import IN_ANSWER_BYTES


class FeedRequests:
    """Answers the requests of one bridge."""

    def __init__(
        self,
        feeds: GrantedFeeds,
        durables: Durables,
        start: Start,
        limits: DurableLimits,
        *,
        now: Callable[[], float],
    ) -> None:
        self._feeds = feeds
        self._durables = durables
        self._start = start
        self._limits = limits
        self._now = now

    async def answer(self, opened: Opened, puller: str, request: PullRequest) -> bytes | ScopedBody:
        """Return the complete answer, or the body of a version that is to be delivered.

        Raises:
            WireError, FeedNotFoundError, DurableError, DurableLimitError, ForbiddenError.
        """
        feed = await self._feeds.of(opened)
        if request.durable:
            return await self._durable(feed, puller, request)
        if request.version is None:
            raise WireError("This grant is for a feed; specify a version, 0 for the newest")
        notice = await self._feeds.version(feed, request.version or None)
        if request.since is None:
            return await self._feeds.body(feed, notice)
        changes = await self._feeds.changes(feed, notice, request.since)
        if changes is None:
            return ChangesAnswer(whole=True).pack()
        encode = partial(_encoded, changes.delta)
        raw = await self._feeds.account(feed).do(len(changes.delta), encode)
        return ChangesAnswer(whole=True).pack() if len(raw) > IN_ANSWER_BYTES else ChangesAnswer(False, raw).pack()

    async def _durable(self, feed: OpenFeed, puller: str, request: PullRequest) -> bytes:
        # Its name begins with the puller's, which nats-server has authenticated: pullers cannot use others' durables.
        name = parse_durable(guest_durable(puller, request.durable))
        if request.durable != GUESTS_DURABLE and not await self._durables.exists(name):
            raise ForbiddenError(
                f"Over NATS a grant holder can create only the durable {GUESTS_DURABLE!r}; others are created over "
                "HTTP, with ?durable="
            )
        idle = self._limits.idle(feed.opened.grant.expires - self._now())
        durable = Durable(name=name, feed=feed.name, idle_seconds=idle, payer=payer_of(feed.opened))
        await self._durables.ensure(durable, lambda: self._start(feed.name, request.begin))
        return pack_durable(name, feed.name)


def _encoded(delta: Delta) -> bytes:
    return b"".join(encode_rows(delta_rows(delta)))
