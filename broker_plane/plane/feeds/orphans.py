"""Freeing bodies of feeds that no notice names: what a publisher left that ended between its bodies and its notice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress

from broker_plane.errors import BodyNotFoundError
from broker_plane.plane.feeds.ports import FeedLog
from broker_plane.plane.ports import BodyStore
from broker_plane.wire.body import BodyInfo

GRACE_SECONDS = 3600.0
"""A body this young may belong to a version that is just being published."""


async def sweep(log: FeedLog, store: BodyStore, owner: str, *, now: Callable[[], float]) -> int:
    """How many bodies of `owner` were freed that belong to no version.

    The bodies are listed before the notices: one that is announced meanwhile is young, or its notice is seen.
    """
    old: dict[str, list[BodyInfo]] = {}
    async for body in store.list(owner):
        if body.feed and now() - body.created > GRACE_SECONDS:
            old.setdefault(body.feed, []).append(body)
    freed = 0
    for feed, bodies in old.items():
        named: set[str] = set()
        async with aclosing(log.read(feed)) as notices:
            async for notice in notices:
                named.update(body.id for body in notice.bodies())
        for body in bodies:
            if body.id not in named:
                with suppress(BodyNotFoundError):
                    await store.delete(owner, body.id)
                    freed += 1
    return freed
