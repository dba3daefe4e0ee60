"""A reader that is killed at half of a body leaves the use to the next one, who gets all of it."""

from __future__ import annotations

import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import GrantInUseError, GrantUsedError
from broker_plane.subjects.puller import NatsPuller
from broker_plane.testing.server import NatsServer
from broker_plane.wire.selector import WHOLE
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


async def test_over_nats_the_use_comes_back_when_the_lease_is_over(own_server: NatsServer, stage: Stage) -> None:
    async with Plane.connect(load_settings(nats_url=own_server.url)) as plane:
        plane.wiring.grants.leases.seconds = 1.5
        url = (await plane.publish(BODY, uses=1)).resource_url
        await killed_at_half(stage, plane, own_server, url)
        assert digest_of(await plane.pull(url, via="nats")) == digest_of(BODY)
        with pytest.raises(GrantUsedError):
            await plane.pull(url, via="nats")


async def test_over_nats_the_same_asker_has_its_use_back_at_once_and_no_other(
    own_server: NatsServer, stage: Stage
) -> None:
    async with Plane.connect(load_settings(nats_url=own_server.url)) as plane:
        url = (await plane.publish(BODY, uses=1)).resource_url
        await killed_at_half(stage, plane, own_server, url, puller_name="reader")
        other = NatsPuller(plane.wiring.connection, "other", retry_seconds=0.5)
        with pytest.raises(GrantInUseError):
            async with other.pull(url, WHOLE):
                pass
        again = load_settings(nats_url=own_server.url, bridge_url=plane.bridge_url, puller_name="reader")
        async with Plane.connect(again) as reader:
            assert digest_of(await reader.pull(url, via="nats")) == digest_of(BODY)
