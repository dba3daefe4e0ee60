"""Readers that die, and readers that come together: a use is one completed delivery, whatever happens to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from broker_plane.config import Settings
from broker_plane.errors import GrantUsedError
from broker_plane.plane import grant_state
from broker_plane.runtime.connect import Plane
from broker_plane.testing.server import NatsServer
from tests.faults.actor import digest_of
from tests.faults.conftest import Home, Stage

pytestmark = pytest.mark.anyio
Via = Literal["http", "nats"]
SIZE = 24_000_000


async def test_a_reader_killed_at_half_over_http_leaves_the_use_to_the_next(home: Home) -> None:
    async with home.connect() as plane:
        published = await plane.publish(bytes(SIZE), uses=1)
        reader = home.act("pull_half", published.resource_url, "http")
        assert SIZE // 2 <= (await reader.said())["received"] < SIZE
        reader.kill()
        assert digest_of(await plane.pull(published.resource_url, via="http")) == published.body.digest
        with pytest.raises(GrantUsedError):
            await plane.pull(published.resource_url, via="http")
