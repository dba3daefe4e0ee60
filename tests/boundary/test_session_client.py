"""Our own client in a session, with nothing but a grant on nats.conf: what it may do, and how it learns of its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import Secret, Settings
from broker_plane.errors import BrokerPlaneError, ForbiddenError, NotPermittedError
from tests.deploy.running import Running

pytestmark = pytest.mark.anyio
SECONDS = 10
"""Ten times what the end of a grant may take."""


@pytest.fixture
async def plane(plane_settings: Settings, variables: dict[str, str]) -> AsyncIterator[Plane]:
    password = Secret(variables["BROKER_PLANE_NATS_PROBE_PASSWORD"])
    async with Plane.connect(replace(plane_settings, nats_probe_password=password)) as connected:
        yield connected


async def test_participants_with_nothing_but_a_grant_work_together_over_nats(plane: Plane, broker: Running) -> None:
    created = await plane.sessions.create(value="The river is high.\n", kind="text", sync="patch")
    async with (
        Plane.guest(broker.address) as anna_plane,
        Plane.guest(broker.address) as otto_plane,
        anna_plane.sessions.join(created.grants["editor"], name="anna", via="nats") as anna,
        otto_plane.sessions.join(created.grants["observer"], name="otto", via="nats") as otto,
    ):
        view = await anna.read()
        done = await anna.propose(view.revision, "fix", {"start": 13, "end": 17}, {"text": "low"})
        async with aclosing(otto.entries()) as entries:
            with anyio.fail_after(SECONDS):
                async for entry in entries:
                    if entry.revision == done.revision:
                        break
        assert (await otto.read()).value == "The river is low.\n"
        with pytest.raises((NotPermittedError, ForbiddenError)):
            await otto.propose(done.revision, "fix", None, {"text": "x"})
        with pytest.raises((NotPermittedError, ForbiddenError)):
            await otto.note("question", "Why?")
        assert (await anna.read()).value == "The river is low.\n"


async def test_a_participant_whose_grant_is_revoked_learns_it(plane: Plane, broker: Running) -> None:
    created = await plane.sessions.create(value="a\n", kind="text", sync="patch")
    grant = created.grants["editor"]
    async with Plane.guest(broker.address) as guest, guest.sessions.join(grant, name="anna", via="nats") as anna:
        async with aclosing(anna.entries()) as entries:
            await plane.revoke(grant)
            with anyio.fail_after(SECONDS), pytest.raises(BrokerPlaneError):
                async for _ in entries:
                    pass
        with pytest.raises(BrokerPlaneError):
            await anna.read()
