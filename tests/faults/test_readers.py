"""A reader that is killed at half of a body leaves the use to the next one, who gets all of it."""

from __future__ import annotations

import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import GrantInUseError, GrantUsedError
from broker_plane.plane.grants import state as grant_state
from broker_plane.subjects import puller
from broker_plane.testing.server import NatsServer
from tests.faults.actor import digest_of
from tests.faults.conftest import Home, Stage

pytestmark = pytest.mark.anyio
SIZE = 24_000_000
BODY = bytes(range(250)) * (SIZE // 250)


async def killed_at_half(stage: Stage, plane: Plane, server: NatsServer, url: str, **settings: object) -> None:
    reader = stage.act("pull_half", url, "nats", nats_url=server.url, bridge_url=plane.bridge_url, **settings)
    assert SIZE // 2 <= (await reader.said())["received"] < SIZE
    reader.kill()


async def test_over_http_the_use_comes_back_with_the_end_of_the_connection(home: Home) -> None:
    async with home.connect() as plane:
        url = (await plane.publish(BODY, uses=1)).resource_url
        reader = home.act("pull_half", url, "http")
        assert SIZE // 2 <= (await reader.said())["received"] < SIZE
        reader.kill()
        assert digest_of(await plane.pull(url, via="http")) == digest_of(BODY)
        with pytest.raises(GrantUsedError):
            await plane.pull(url, via="http")


async def test_over_nats_the_use_comes_back_when_the_lease_is_over(
    own_server: NatsServer, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grant_state, "LEASE_SECONDS", 1.5)
    async with Plane.connect(load_settings(nats_url=own_server.url)) as plane:
        url = (await plane.publish(BODY, uses=1)).resource_url
        await killed_at_half(stage, plane, own_server, url)
        assert digest_of(await plane.pull(url, via="nats")) == digest_of(BODY)
        with pytest.raises(GrantUsedError):
            await plane.pull(url, via="nats")


async def test_over_nats_the_same_asker_has_its_use_back_at_once_and_no_other(
    own_server: NatsServer, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puller, "_PATIENCE_SECONDS", 0.5)
    async with Plane.connect(load_settings(nats_url=own_server.url)) as plane:
        url = (await plane.publish(BODY, uses=1)).resource_url
        await killed_at_half(stage, plane, own_server, url, name="reader")
        with pytest.raises(GrantInUseError):
            await plane.pull(url, via="nats")
        again = load_settings(nats_url=own_server.url, bridge_url=plane.bridge_url, name="reader")
        async with Plane.connect(again) as reader:
            assert digest_of(await reader.pull(url, via="nats")) == digest_of(BODY)
