"""Subscribers of a feed in GUEST, on nats.conf: a durable that the plane made, and versions within the grant."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import DurableError, NotPermittedError
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.testing.server import eventually
from tests.boundary.conftest import Admit, Join
from tests.deploy.running import Running

pytestmark = pytest.mark.anyio
AT_ONCE = RetrySchedule(delays=(0.0,) * 9)
ROWS = [{"id": number, "name": uuid4().hex, "secret": uuid4().hex} for number in range(40)]


async def test_a_user_of_guest_subscribes_and_sees_what_its_grant_shows(
    plane: Plane, broker: Running, tmp_path: Path
) -> None:
    feed = f"crm.{uuid4().hex}"
    await plane.publish(ROWS, feed=feed, key="id")
    grant = (await plane.feeds.grant(feed, columns=["id", "name"])).resource_url
    settings = load_settings(nats_url=broker.url("stats"), role="guest", data_dir=tmp_path / "stats")
    seen: list[Any] = []
    async with Plane.connect(settings) as guest:

        async def handle(message: Any) -> None:
            changes = await message.changes()
            seen.append((changes.version, changes.whole, changes.added + changes.changed, changes.removed))

        running = asyncio.create_task(guest.on_notice(feed, handle, durable="feeds", grant=grant))
        try:
            await eventually(lambda: _is(lambda: len(seen) == 1))
            await plane.publish([ROWS[0] | {"name": "Ann"}, ROWS[1] | {"secret": "B"}, *ROWS[3:]], feed=feed, key="id")
            await eventually(lambda: _is(lambda: len(seen) == 2))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert seen[0] == (1, True, [{"id": row["id"], "name": row["name"]} for row in ROWS], [])
        assert seen[1] == (2, False, [{"id": 0, "name": "Ann"}], [{"id": 2}])
        with pytest.raises(DurableError, match="and not for"):
            await guest.on_notice("another", handle, durable="feeds", grant=grant)
        with pytest.raises(NotPermittedError, match="grant="):
            await guest.on_notice(feed, handle, durable="feeds")
    assert "stats_feeds" in await plane.feeds.durables()


async def test_who_has_the_grant_alone_subscribes_with_it(plane: Plane, broker: Running) -> None:
    feed = f"crm.{uuid4().hex}"
    await plane.publish(ROWS, feed=feed, key="id")
    grant = (await plane.feeds.grant(feed)).grant
    async with Plane.guest(f"{broker.scheme}://{broker.address}") as guest:
        for version in (1, 2):
            async with aclosing(guest.subscribe(feed, durable="feeds", grant=grant, retries=AT_ONCE)) as messages:
                message = await anext(messages)
                assert message.version == version
                assert len(await message.rows()) == len(ROWS) - version + 1
                if version == 1:
                    await plane.publish(ROWS[1:], feed=feed, key="id")
                    await anext(messages)  # so that the first one is taken


async def test_a_guest_takes_no_other_ones_notices(plane: Plane, join: Join, admit: Admit) -> None:
    feed = f"crm.{uuid4().hex}"
    await plane.publish(ROWS, feed=feed, key="id")
    await plane.feeds.ensure_durable(feed, "private", "first", 30)
    grant = (await plane.feeds.grant(feed)).grant
    for client in (await join("stats"), await admit(grant)):
        for durable in ("private", "*", "stats_other"):
            assert await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.BP_FEEDS.{durable}"), durable
        for subject in ("$JS.API.DIRECT.GET.BP_FEEDS", f"bp.feed.{feed}", "$JS.API.CONSUMER.CREATE.BP_FEEDS.x"):
            assert await client.publish(subject), subject


async def _is(condition: Any) -> bool:
    return bool(condition())
