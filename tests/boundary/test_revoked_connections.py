"""A revoked grant's connections to NATS are ended, whichever bridge admitted them; nobody else's are."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio.to_thread
import nats.errors
import orjson
import pytest
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import Secret, Settings, load_settings
from broker_plane.embedded.broker import stop
from broker_plane.testing.processes import until
from broker_plane.wire.names import BodyId, asker_inbox, asker_of, encode_id
from tests.boundary.client import Client
from tests.boundary.conftest import Admit, Join
from tests.boundary.test_roles import command
from tests.deploy.running import CONF, Running

pytestmark = pytest.mark.anyio
SECONDS = 10
"""Ten times what a revocation may take."""

REFUSED = r"(?i)authorization"


@pytest.fixture
def ending_settings(plane_settings: Settings, variables: dict[str, str]) -> Settings:
    """A bridge that may end connections: it has the password of `probe`."""
    return replace(plane_settings, nats_probe_password=Secret(variables["BROKER_PLANE_NATS_PROBE_PASSWORD"]))


@pytest.fixture
async def plane(ending_settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(ending_settings) as connected:
        yield connected


async def grant_of_kind(plane: Plane, kind: str) -> str:
    if kind == "feed":
        feed = f"crm.{uuid4().hex}"
        await plane.publish([{"id": 1}], feed=feed, key="id")
        return (await plane.feeds.grant(feed)).grant
    if kind == "session":
        wired = plane._user_plane()
        session = BodyId(encode_id(os.urandom(16)))
        return await wired.grants.minting.mint_session(session, "observer", int(wired.now()) + 600)
    body = await plane.publish([{"a": 1, "b": 2}], uses="unlimited")
    return plane.narrow(body.grant, columns=["a"]).grant if kind == "narrowed" else body.grant


@pytest.mark.parametrize("kind", ["body", "narrowed", "feed", "session"])
async def test_the_connections_of_a_revoked_grant_end_and_do_not_come_back(
    plane: Plane, admit: Admit, join: Join, kind: str
) -> None:
    grant, other = await grant_of_kind(plane, kind), await grant_of_kind(plane, kind)
    clients = [await admit(grant) for _ in range(3)]
    bystanders = [await admit(other), await join("stats")]
    await plane.revoke(grant)
    for client in clients:
        await client.ended(SECONDS)
    with pytest.raises(nats.errors.Error, match=REFUSED):
        await admit(grant)
    for bystander in bystanders:
        assert await bystander.publish("bp.pull.x.y")  # refused, and so it is still there


async def test_a_root_takes_the_connections_of_what_was_narrowed_from_it_along(plane: Plane, admit: Admit) -> None:
    root = (await plane.publish([{"a": 1}], uses="unlimited")).grant
    narrowed = await admit(plane.narrow(root, ttl=300).grant)
    await plane.revoke(root)
    await narrowed.ended(SECONDS)


@asynccontextmanager
async def admitting_only(plane_settings: Settings, directory: Path) -> AsyncIterator[Plane]:
    """A bridge that admits grants and may not end connections."""
    async with Plane.connect(replace(plane_settings, data_dir=directory)) as connected:
        yield connected


async def test_a_bridge_ends_what_another_one_has_admitted(
    plane_settings: Settings, ending_settings: Settings, admit: Admit, tmp_path: Path
) -> None:
    async with admitting_only(plane_settings, tmp_path / "first") as first:
        grant = await grant_of_kind(first, "body")
        client = await admit(grant)
        without = replace(ending_settings, callout_password=Secret(""), callout_seed=Secret(""))
        async with Plane.connect(without):
            await first.revoke(grant)
            await client.ended(SECONDS)


async def test_a_bridge_that_starts_ends_what_was_revoked_before(
    plane_settings: Settings, ending_settings: Settings, admit: Admit, tmp_path: Path
) -> None:
    async with admitting_only(plane_settings, tmp_path / "first") as first:
        grant = await grant_of_kind(first, "body")
        client = await admit(grant)
        await first.revoke(grant)
        assert await client.publish("bp.pull.x.y")  # it is still connected
    async with Plane.connect(ending_settings):
        await client.ended(SECONDS)


@pytest.fixture
def unwilling(tmp_path: Path, variables: dict[str, str]) -> Iterator[Running]:
    """A NATS whose `probe` only reads the server's settings, as in a configuration of an earlier version."""
    allowed = ', "$SYS.REQ.ACCOUNT.GUEST.CONNZ", "$SYS.REQ.SERVER.*.KICK"'
    conf = tmp_path / "nats.conf"
    conf.write_text(CONF.read_text().replace(allowed, ""))
    assert conf.read_text() != CONF.read_text()
    running = Running(conf, tmp_path, {**os.environ, **variables})
    yield running
    running.stop()


async def test_where_the_operator_forbids_it_a_connection_stays_until_it_expires_and_doctor_says_so(
    unwilling: Running,
    ending_settings: Settings,
    variables: dict[str, str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = replace(ending_settings, nats_url=unwilling.url(), data_dir=tmp_path / "plane")
    async with Plane.connect(settings) as plane:
        await plane.revoke(await grant_of_kind(plane, "body"))
        await until(lambda: "stay open until the grants expire" in caplog.text, "the warning")
    own = {"BROKER_PLANE_NATS_URL": unwilling.url(), "BROKER_PLANE_DATA_DIR": str(tmp_path / "plane")}
    said = await command(variables | own, "doctor")
    assert said["revocation"].startswith("does not end connections to NATS: ")
    assert said["sessions"] == "a grant can take part over NATS"


async def test_doctor_says_that_a_revocation_ends_connections(
    broker: Running, variables: dict[str, str], tmp_path: Path
) -> None:
    own = {"BROKER_PLANE_NATS_URL": broker.url(), "BROKER_PLANE_DATA_DIR": str(tmp_path)}
    assert (await command(variables | own, "doctor"))["revocation"] == "ends connections to NATS"
    without = {**variables, "BROKER_PLANE_NATS_PROBE_PASSWORD": ""}
    assert "NATS_PROBE_PASSWORD is not set" in (await command(without | own, "doctor"))["revocation"]


async def test_the_embedded_broker_ends_them_too_and_passes_requests_to_sessions_on(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "home", max_store_bytes=1 << 30, prefix="crm")
    try:
        async with Plane.connect(settings) as plane:
            address = plane._user_plane().url.rpartition("@")[2]
            grant = await grant_of_kind(plane, "session")
            asker = asker_of(grant)
            async with Client(f"nats://{address}", asker, inbox=asker_inbox(asker), token=grant) as client:
                answer = await client.request(f"crm.say.read.{grant}.{asker}", b'{"do": "show"}')
                assert orjson.loads(answer.data)["error"]["code"] == "session_not_found"
                await plane.revoke(grant)
                await client.ended(SECONDS)
    finally:
        await anyio.to_thread.run_sync(stop, settings.data_dir)
