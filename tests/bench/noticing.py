"""Our notices, from the moment in which the notice's publication was acknowledged to the subscriber's loop body."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from uuid import uuid4

from broker_plane import Plane
from broker_plane.testing.bench import nats_url
from broker_plane.wire.feeds import Notice
from tests.bench.hearing import Hearing, hearing, latencies
from tests.bench.measure import Sample

_WARM_TRIES = 50


class Noticing:
    """One feed, published here and heard by a process of its own, by one way."""

    def __init__(self, plane: Plane, hearer: Hearing, feed: str) -> None:
        self._plane = plane
        self._hearer = hearer
        self._feed = feed
        self._number = 0
        self._acknowledged = 0.0
        log = plane.feeds.adapters.log
        commit = log.commit

        async def timed(notice: Notice, after: int) -> int:
            sequence = await commit(notice, after)
            self._acknowledged = time.perf_counter()
            return sequence

        log.commit = timed  # type: ignore[method-assign]  # to know when, and nothing else

    async def measure(self, count: int) -> Sample:
        """`count` versions, each published when the one before it was heard."""
        found = []
        for _ in range(count):
            version = await self._publish()
            found.append(await self._hearer.heard(version) - self._acknowledged)
        return latencies(found)

    async def warm(self) -> None:
        """The subscriber is there: it has heard something."""
        for _ in range(_WARM_TRIES):
            await self._publish()
            try:
                await self._hearer.line(0.5)
            except TimeoutError:
                continue
            return
        raise RuntimeError(f"Nothing of {self._feed} was heard")

    async def _publish(self) -> int:
        self._number += 1
        rows = [{"id": key, "n": self._number, "note": f"contact {key} has a note of its own"} for key in range(10)]
        return (await self._plane.publish(rows, feed=self._feed, key="id")).version


async def noticing(plane: Plane, way: str, stack: AsyncExitStack) -> Noticing:
    """Notices by `way`; the subscriber lives as long as `stack`."""
    feed = f"bench.{uuid4().hex}"
    await plane.publish([{"id": 0, "n": 0, "note": ""}], feed=feed, key="id")
    if way == "nats":
        hearer = await stack.enter_async_context(hearing(way, feed, nats_url(plane.settings)))
    elif way == "sse":
        granted = await plane.feeds.grant(feed)
        hearer = await stack.enter_async_context(hearing(way, granted.resource_url))
    else:
        hearer = await stack.enter_async_context(hearing(way, "0"))
        hooks = plane.webhooks
        await hooks.add(feed, f"http://127.0.0.1:{await hearer.line()}/")
    made = Noticing(plane, hearer, feed)
    await made.warm()
    return made
