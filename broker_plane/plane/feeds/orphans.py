"""Deletes bodies of feeds that no notice refers to: a publisher died after storing them and before its commit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress

from broker_plane.errors import BodyNotFoundError
from broker_plane.plane.feeds.ports import FeedLog
from broker_plane.plane.ports import BodyStore
from broker_plane.wire.body import BodyInfo

GRACE_SECONDS = 3600.0
"""Younger bodies may belong to a version that is being published."""


async def sweep(log: FeedLog, store: BodyStore, owner: str, *, now: Callable[[], float]) -> int:
    """Delete the bodies of `owner` that belong to no version, and return their number.

    Bodies are listed before notices: a body whose notice is committed meanwhile is young, or its notice is seen.
    """
    old: dict[str, list[BodyInfo]] = {}
    async for body in store.list(owner):
        if body.feed and now() - body.created > GRACE_SECONDS:
            old.setdefault(body.feed, []).append(body)
    freed = 0
    for feed, bodies in old.items():
        referred = await _referred(log, feed)
        for body in bodies:
            if body.id not in referred:
                with suppress(BodyNotFoundError):
                    await store.delete(owner, body.id)
                    freed += 1
    return freed


async def _referred(log: FeedLog, feed: str) -> set[str]:
    """Return the ids of all bodies that the notices of `feed` refer to."""
    async with aclosing(log.read(feed)) as notices:
        return {body.id async for notice in notices for body in notice.bodies()}
