"""Who comes first starts the broker, who comes later shares it, and who comes after `down` starts it again."""

from __future__ import annotations

import asyncio
from typing import Literal

import anyio
import pytest

from broker_plane.embedded.broker import find
from tests.faults.conftest import Home, Stage

pytestmark = pytest.mark.anyio
BOUND_SECONDS = 30


async def test_processes_that_start_at_once_share_one_broker(home: Home) -> None:
    home.stop()
    actors = [home.act("attach") for _ in range(3)]
    said = [await actor.said() for actor in actors]
    assert {each["bridge"] for each in said} == {home.running().bridge_url}
    ways: tuple[Literal["http", "nats"], ...] = ("http", "nats")
    async with home.connect() as plane:
        for via in ways:
            assert [await plane.pull(each[via], via=via) for each in said] == [b"shared"] * 3


async def test_a_plane_whose_broker_was_stopped_starts_it_again(home: Home, stage: Stage) -> None:
    async with home.connect() as old:
        published = await old.publish(b"kept over the stop", uses="unlimited")
        down = stage.run("broker_plane.cli.main", "down", "--json", data_dir=home.settings.data_dir)
        assert await down.said() == {"stopped": True}
        assert find(home.settings.data_dir) is None
        with anyio.fail_after(BOUND_SECONDS):
            pulls = (old.pull(published.resource_url, via=via) for via in ("http", "nats"))
            assert await asyncio.gather(*pulls) == [b"kept over the stop"] * 2
        async with home.connect() as new:
            assert await new.pull(published.resource_url, via="http") == b"kept over the stop"
            # The same ports and passwords: who was there before goes on without doing anything for it.
            assert await old.pull(published.resource_url, via="nats") == b"kept over the stop"
