"""How long a guest waits for a NATS that is not there: as long as every other command."""

from __future__ import annotations

import anyio
import pytest

from broker_plane import Plane
from broker_plane.errors import BrokerUnavailableError
from tests.brokers.listeners import PLAIN_INFO, listening
from tests.ports import free_port

pytestmark = pytest.mark.anyio
GRANT = "bp.pull.AQ" + "A" * 78
SECONDS = 15
"""Half of what only a server that answers may take, and many times what is needed."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PLANE_REQUEST_TIMEOUT_SECONDS", "0.3")


async def test_a_guest_does_not_wait_for_a_stopped_nats() -> None:
    async with Plane.guest(f"nats://127.0.0.1:{free_port()}") as guest:
        with anyio.fail_after(SECONDS), pytest.raises(BrokerUnavailableError, match="nothing listens there"):
            await guest.pull(GRANT)


async def test_a_guest_does_not_wait_for_a_port_that_says_nothing() -> None:
    async with listening() as silent, Plane.guest(f"nats://127.0.0.1:{silent.port}") as guest:
        with anyio.fail_after(SECONDS), pytest.raises(BrokerUnavailableError, match="says nothing"):
            await guest.pull(GRANT)


async def test_a_guest_waits_for_a_nats_that_has_not_admitted_it_yet() -> None:
    """Many guests wait at once for the bridges that verify their grants."""
    async with listening(PLAIN_INFO) as busy, Plane.guest(f"nats://127.0.0.1:{busy.port}") as guest:
        with anyio.move_on_after(1.5) as waiting:  # several of its time-outs
            await guest.pull(GRANT)
        assert waiting.cancelled_caught
