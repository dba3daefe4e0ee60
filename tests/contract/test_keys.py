"""The Keys port on NATS: what a bridge knows of owners' keys, and for how long."""

from __future__ import annotations

import pytest

from broker_plane.broker.connecting import connect
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.keys import LOOK_AGAIN_SECONDS, NatsKeys
from broker_plane.storage.layout import ensure_state
from broker_plane.testing.server import NatsServer

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_key_that_was_rotated_away_opens_nothing_after_ten_seconds(wiring: Wiring, clock: Clock) -> None:
    """On a bridge that has seen neither the new keys nor anything else since."""
    owner, bridge = NatsKeys(wiring.connection, "rotating"), NatsKeys(wiring.connection, "bridge", now=clock)
    first = await owner.sealing()
    assert await bridge.opening(first.id) == [("rotating", first)]
    second = await owner.rotate()
    await owner.rotate()
    clock.now += LOOK_AGAIN_SECONDS + 1
    assert await bridge.opening(first.id) == []
    assert await bridge.opening(second.id) == [("rotating", second)]


async def test_what_is_known_holds_while_the_broker_is_away(own_server: NatsServer, clock: Clock) -> None:
    connection = await connect(own_server.url, timeout=0.5)
    try:
        await ensure_state(connection)
        keys = NatsKeys(connection, "owner", now=clock)
        key = await keys.sealing()
        assert await keys.opening(key.id) == [("owner", key)]
        own_server.kill()
        clock.now += LOOK_AGAIN_SECONDS + 1
        assert await keys.opening(key.id) == [("owner", key)]
    finally:
        await connection.close()


async def test_an_unknown_key_is_nobodys(wiring: Wiring) -> None:
    assert await wiring.keys.opening(b"\0\0\0") == []
