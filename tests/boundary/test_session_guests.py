"""Participants with nothing but a grant: nats-server admits them for their role, and puts them out when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import Secret, Settings
from broker_plane.errors import BrokerPlaneError, ForbiddenError, GrantError, GrantExpiredError
from broker_plane.runtime.joined_session import JoinedSession
from broker_plane.testing.processes import until
from tests.deploy.running import Running

pytestmark = pytest.mark.anyio
PALM = "\N{PALM TREE}"


@pytest.fixture
async def plane(plane_settings: Settings, variables: dict[str, str]) -> AsyncIterator[Plane]:
    """The plane with a bridge that also ends the connections of revoked grants."""
    password = Secret(variables["BROKER_PLANE_NATS_PROBE_PASSWORD"])
    async with Plane.connect(replace(plane_settings, nats_probe_password=password)) as connected:
        yield connected


@pytest.fixture
async def guest(broker: Running, plane: Plane) -> AsyncIterator[Plane]:
    async with Plane.guest(f"{broker.scheme}://{broker.address}") as connected:
        yield connected


async def ended(session: JoinedSession) -> BrokerPlaneError:
    """The error with which the entries end."""
    with pytest.raises(BrokerPlaneError) as raised:
        async with asyncio.timeout(60):
            async for _ in session.entries():
                pass
    return raised.value


async def test_guests_work_on_one_text_over_nats_alone(plane: Plane, guest: Plane) -> None:
    created = await plane.sessions.create(f"one {PALM}", sync="crdt")
    assert {each.protocol for each in created.offer().descriptors} == {"ws", "nats"}
    async with (
        guest.sessions.join(created.descriptor, name="anna") as anna,
        guest.sessions.join(created.grants["observer"], name="eve") as eve,
        plane.sessions.join(created, name="bert") as bert,
    ):
        mine, yours, seen = anna.document(), bert.document(), eve.document()
        for document in (mine, yours, seen):
            await document.synchronized()
        mine.splice(4, 5, "two")
        yours.splice(0, 0, f"{PALM} ")
        await mine.synchronized()
        await yours.synchronized()
        await until(lambda: mine.value == yours.value == seen.value == f"{PALM} one two", "the same text")
        note = await anna.note("decision", "Two it is")
        await until(lambda: [each["note"] for each in eve.notes] == [note], "the note")
        assert {each["name"] for each in (await eve.read()).fields["participants"]} == {"anna", "eve", "bert"}
        with pytest.raises(ForbiddenError, match="observer"):
            await eve.note("comment", "hello")


async def test_a_revoked_grant_ends_the_participation(plane: Plane, guest: Plane) -> None:
    created = await plane.sessions.create("text")
    async with guest.sessions.join(created.grants["editor"], name="anna") as session:
        await session.propose(session.revision, edit="mine")
        await plane.revoke(created.grants["editor"])
        assert isinstance(await ended(session), GrantError)
        with pytest.raises(GrantError):
            await session.propose(session.revision, edit="late")
    with pytest.raises(GrantError):
        async with guest.sessions.join(created.grants["editor"]):
            pass


async def test_an_expired_grant_ends_the_participation(plane: Plane, guest: Plane) -> None:
    created = await plane.sessions.create("text")
    grant = plane.narrow(created.grants["reviewer"], ttl=3).grant
    async with guest.sessions.join(grant, name="anna") as session:
        assert isinstance(await ended(session), GrantExpiredError)
