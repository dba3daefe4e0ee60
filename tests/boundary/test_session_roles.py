"""The table of roles: every operation with a fresh, narrowed, expired, revoked and stolen grant, on each way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256

import anyio
import httpx2
import pytest
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import Secret, Settings
from broker_plane.runtime.session_hosting import session_host
from broker_plane.sessions.policy import Policy, SessionLimits
from broker_plane.sessions.replicas.port import Sync
from broker_plane.sessions.roles import OPERATIONS, Role, may
from broker_plane.wire.names import BodyId
from tests.boundary.conftest import Admit, Join
from tests.boundary.session_http_ways import HttpWay, SocketWay
from tests.boundary.session_ways import NatsWay, NotLetInError, Way
from tests.boundary.session_yjs_way import YjsWay
from tests.boundary.sessions import mint, new_session

pytestmark = pytest.mark.anyio
GRANTED: tuple[Role, ...] = ("observer", "reviewer", "editor")
SYNCS: tuple[Sync, Sync] = ("ot", "crdt")
SECONDS = 10
"""Ten times what the end of a grant may take."""

Allowed = dict[str, bool]
"""By operation."""


@pytest.fixture
async def plane(plane_settings: Settings, variables: dict[str, str]) -> AsyncIterator[Plane]:
    """A bridge that ends the connections of revoked grants, and knows one name that no grant here is for."""
    password = Secret(variables["BROKER_PLANE_NATS_PROBE_PASSWORD"])
    audiences = f"thief={sha256(b'thief-token').hexdigest()}"
    settings = replace(plane_settings, nats_probe_password=password, audiences=audiences)
    async with Plane.connect(settings) as connected:
        yield connected


@dataclass
class World:
    """The ways into a session, and which session it is: y-websocket needs one of `crdt`."""

    plane: Plane
    sessions: dict[str, BodyId]
    ways: dict[str, Way]


@dataclass
class Room:
    """One session."""

    plane: Plane
    session: BodyId


@pytest.fixture
async def world(plane: Plane, admit: Admit, join: Join) -> AsyncIterator[World]:
    host = session_host(plane._user_plane(), plane.settings, plane.bridge_url)
    policy, owner = Policy(limits=SessionLimits(operations_per_second=1_000)), plane.settings.owner
    made = [await host.create("a\n", kind="text", sync=sync, policy=policy, owner=owner) for sync in SYNCS]
    session, document = map(BodyId, made)
    thief = await admit(await mint(plane, new_session(), "editor"))
    async with AsyncExitStack() as sockets, httpx2.AsyncClient(trust_env=False) as client:
        ways: dict[str, Way] = {
            "nats": NatsWay(admit, await join("plane"), await join("stats"), thief),
            "http": HttpWay(plane.bridge_url, client),
            "websocket": SocketWay(plane.bridge_url, sockets),
            "yjs": YjsWay(plane.bridge_url, await mint(plane, document, "editor"), sockets),
        }
        yield World(plane, {way: document if way == "yjs" else session for way in ways}, ways)
    await host.close()


async def fresh(room: Room, way: Way, role: Role) -> Allowed:
    return await everything(way, await mint(room.plane, room.session, role))


async def narrowed(room: Room, way: Way, role: Role) -> Allowed:
    """From an editor to the role, and to no more by whatever is added afterwards."""
    grant = await mint(room.plane, room.session, "editor")
    for added in (role, "editor"):
        grant = room.plane.narrow(grant, role=added, ttl=300).grant
    return await everything(way, grant)


async def expired(room: Room, way: Way, role: Role) -> Allowed:
    for seconds in (2, 4, 8, 16):
        grant = await mint(room.plane, room.session, role, seconds=seconds)
        with suppress(NotLetInError):  # on a busy machine the first one may end before it is used
            await (await way.enter(grant)).ended(seconds + SECONDS)
            return await nothing(way, grant)
    pytest.fail("every grant had expired before it was used")


async def revoked(room: Room, way: Way, role: Role) -> Allowed:
    grant = await mint(room.plane, room.session, role)
    holder = await way.enter(room.plane.narrow(grant, ttl=300).grant)
    await room.plane.revoke(grant)
    await holder.ended(SECONDS)
    return await nothing(way, grant)


async def stolen(room: Room, way: Way, role: Role) -> Allowed:
    grant = await mint(room.plane, room.session, role)
    named = room.plane.narrow(grant, audience="somebody").grant
    return {operation: await way.steal(grant, named, operation) for operation in way.operations}


async def everything(way: Way, grant: str) -> Allowed:
    holder = await way.enter(grant)
    return {operation: await holder.may(operation) for operation in OPERATIONS if operation in way.operations}


async def nothing(way: Way, grant: str) -> Allowed:
    with pytest.raises(NotLetInError):
        await way.enter(grant)
    return {operation: await way.answers_after_the_end(grant, operation) for operation in way.operations}


@pytest.mark.parametrize("way", ["nats", "http", "websocket", "yjs"])
@pytest.mark.parametrize(
    ("state", "opens"), [(fresh, True), (narrowed, True), (expired, False), (revoked, False), (stolen, False)]
)
async def test_exactly_what_the_table_of_roles_allows(
    world: World, way: str, state: Callable[[Room, Way, Role], Awaitable[Allowed]], opens: bool
) -> None:
    found: dict[Role, Allowed] = {}

    async def find(role: Role) -> None:
        found[role] = await state(Room(world.plane, world.sessions[way]), world.ways[way], role)

    async with anyio.create_task_group() as group:
        for role in GRANTED:
            group.start_soon(find, role)
    operations = world.ways[way].operations
    assert found == {role: {operation: opens and may(role, operation) for operation in operations} for role in GRANTED}
