"""Resource servers: each publishes into its own bucket and its own key, reads nothing, and reaches nobody else's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from time import monotonic, time
from uuid import uuid4

import msgpack
import pytest
from msgspec.structs import replace

from broker_plane import Plane, Published
from broker_plane.config import Settings
from broker_plane.errors import BodyLostError, BodyNotFoundError, GrantRefusedError, NotPermittedError, StorageError
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.storage.meta import write_meta
from broker_plane.storage.owners import wait_for_bucket
from broker_plane.wire.grant import Grant, Key, seal
from broker_plane.wire.names import BodyId, parse_body_id
from broker_plane.wire.plane_names import Names
from tests.boundary.client import Client
from tests.boundary.conftest import Join
from tests.boundary.world import MARK, nothing_changes, stored
from tests.deploy.running import Running

pytestmark = pytest.mark.anyio
OTHER = "crm"


@pytest.fixture
async def crm(plane: Plane, plane_settings: Settings) -> AsyncIterator[Wiring]:
    """Another owner, whose bodies and keys the plane itself keeps."""
    wired = await wire(plane_settings.nats_url, replace(plane_settings, owner=OTHER))
    yield wired
    await wired.close()


@pytest.fixture
async def victim(plane: Plane, plane_settings: Settings, crm: Wiring) -> AsyncIterator[Published]:
    """A body of that owner."""
    settings = replace(plane_settings, owner=OTHER, bridge_url=plane.bridge_url)
    async with Plane.connect(settings) as owner:
        yield await owner.publish(os.urandom(700_000), uses="unlimited")


@pytest.fixture
async def attacker(weather: Plane, join: Join) -> Client:
    return await join("weather")


def as_weathers(weather: Plane, body_id: str) -> str:
    """A grant for any body, with the key of the owner weather: as whoever stole it would make one."""
    (secret, *_) = msgpack.unpackb((weather.settings.data_dir / "keys" / "weather").read_bytes())
    grant = Grant(body=parse_body_id(body_id), grant_id=uuid4().bytes, expires=int(time()) + 60, uses=0)
    return seal(grant, Key(secret))


async def test_it_publishes_and_others_pull_it_both_ways(weather: Plane, plane: Plane) -> None:
    raw = os.urandom(3_000_000)
    published = await weather.publish(raw, uses=3)
    assert await plane.pull(published.subject) == raw
    assert await plane.pull(published.resource_url, via="http") == raw
    assert await weather.pull(published.resource_url) == raw  # with the grant, because its user may not


async def test_it_reads_nothing_and_is_told_at_once(weather: Plane, attacker: Client, victim: Published) -> None:
    began = monotonic()
    for ask in (
        lambda: weather.bodies.list(),
        lambda: weather.grants.body_of(victim.grant),
        lambda: weather.health.ready(),
        lambda: weather.bodies.delete(victim.body.id),
    ):
        with pytest.raises(NotPermittedError, match="source"):
            await ask()
    assert monotonic() - began < weather.settings.request_timeout_seconds


async def test_it_may_listen_to_nothing_but_its_answers(attacker: Client, victim: Published) -> None:
    subjects = [
        *(f"$JS.API.DIRECT.GET.OBJ_bp_{OTHER}", f"bp.pull.{victim.grant}.weather", "bp.dlv.>", "_INBOX.>", "$SYS.>"),
        *(
            "$O.bp_weather.C.>",
            Names().chunk_subject(OTHER, victim.body.id),
            "$O.>",
            f"$KV.{Names().keys_bucket}.>",
            f"$KV.{Names().keys_bucket}.weather",
            ">",
        ),
    ]
    for subject in subjects:
        assert await attacker.subscribe(subject), subject
    assert attacker.received == []


async def test_it_writes_nothing_of_others(attacker: Client, victim: Published, join: Join) -> None:
    body = victim.body.id
    subjects = [
        *(
            Names().chunk_subject(OTHER, body),
            f"$O.bp_{OTHER}.C.forged",
            Names().meta_subject(OTHER, body),
            "$O.*.C.x",
            "$O.>",
        ),
        *(
            f"$KV.{Names().keys_bucket}.{OTHER}",
            f"$KV.{Names().keys_bucket}.*",
            f"$KV.{Names().keys_bucket}.weather.x",
            f"$KV.{Names().grants_bucket}.x",
            "$KV.>",
        ),
        *(f"$JS.API.STREAM.{verb}.OBJ_bp_{name}" for verb in ("PURGE", "MSG.DELETE") for name in (OTHER, "weather")),
        *(
            f"$JS.API.STREAM.CREATE.OBJ_bp_{OTHER}2",
            f"$JS.API.STREAM.UPDATE.KV_{Names().keys_bucket}",
            "$JS.API.>",
            "$JS.API.INFO",
        ),
        *("$JS.API.DIRECT.GET.OBJ_bp_weather", f"$JS.API.CONSUMER.CREATE.OBJ_bp_{OTHER}", "$JS.ACK.x.y"),
        *(f"bp.pull.{victim.grant}.weather", f"bp.confirm.{victim.grant}.weather", "bp.dlv.stats.x"),
        *("_INBOX.x", "_INBOX_stats.x", "_R_.x", "$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING.VARZ"),
    ]
    async with nothing_changes(await join("plane")):
        for subject in subjects:
            assert await attacker.publish(subject, MARK), subject


@pytest.mark.parametrize("own", ["$O.bp_weather.C.x", "$O.bp_weather.M.x", f"$KV.{Names().keys_bucket}.weather"])
@pytest.mark.parametrize(
    "confused",
    [
        {"reply": f"$KV.{Names().grants_bucket}.forged"},
        {"reply": f"$KV.{Names().keys_bucket}.{OTHER}"},
        {"reply": f"$O.bp_{OTHER}.C.forged"},
        {"reply": f"$JS.API.STREAM.PURGE.OBJ_bp_{OTHER}"},
        {"reply": "bp.dlv.stats.x"},
        {"headers": {"Nats-Rollup": "all"}},
        {"headers": {"Nats-Rollup": "sub"}},
        {"headers": {"Nats-Trace-Dest": f"$KV.{Names().keys_bucket}.{OTHER}"}},
        {"headers": {"Nats-Subject": f"$KV.{Names().keys_bucket}.{OTHER}", "Nats-Sequence": "1", "Status": "204"}},
    ],
    ids=str,
)
async def test_what_it_may_write_changes_nothing_of_others(
    attacker: Client, victim: Published, plane: Plane, join: Join, own: str, confused: dict[str, object]
) -> None:
    view = await join("plane")
    before = _without(await stored(view), "bp_weather")
    await attacker.publish(own, MARK, **confused)
    await attacker.request("$O.bp_weather.C.y", b"")  # its acknowledgement comes after what was before it
    assert _without(await stored(view), "bp_weather") == before
    assert await plane.pull(victim.subject)


def _without(state: dict[str, object], owner: str) -> object:
    """All but that owner's bucket and that owner's key; sequences and sizes of the keys' stream go on with its own."""
    keys = state[f"KV_{Names().keys_bucket}"]
    assert isinstance(keys, dict)
    others = {subject: count for subject, count in keys["subjects"].items() if not subject.endswith(".weather")}
    return {name: s for name, s in state.items() if name not in (f"OBJ_{owner}", f"KV_{Names().keys_bucket}")} | {
        "keys": others
    }


@pytest.mark.parametrize("entry", [b"", b"\xc1", msgpack.packb([b"short"]), msgpack.packb({"a": 1}), b"x" * 4000])
@pytest.mark.parametrize("headers", [None, {"Status": "204"}, {"Nats-Subject": f"$KV.{Names().keys_bucket}.{OTHER}"}])
async def test_what_stands_under_its_key_closes_nobody_elses(
    attacker: Client,
    victim: Published,
    plane_settings: Settings,
    plane: Plane,
    entry: bytes,
    headers: dict[str, str] | None,
) -> None:
    await attacker.request(f"$KV.{Names().keys_bucket}.weather", entry) if headers is None else None
    await attacker.publish(f"$KV.{Names().keys_bucket}.weather", entry, headers=headers)
    async with Plane.connect(replace(plane_settings, bridge_url=plane.bridge_url)) as fresh:
        assert (await fresh.grants.body_of(victim.grant)).id == victim.body.id


async def test_a_stolen_key_opens_nothing_of_another_owner(weather: Plane, plane: Plane, victim: Published) -> None:
    forged = as_weathers(weather, victim.body.id)
    for via in ("nats", "http"):
        with pytest.raises((BodyNotFoundError, BodyLostError)):
            await plane.pull(f"{plane.bridge_url}/s2sp/data/{forged}", via=via)


async def test_a_meta_that_names_another_owners_body_is_none(
    weather: Plane, plane: Plane, attacker: Client, victim: Published
) -> None:
    """The bridge would read the bytes out of the bucket that the meta names."""
    subject = Names().meta_subject("weather", victim.body.id)
    for body in (victim.body, replace(victim.body, owner="weather", id=BodyId("A" * 22))):
        await attacker.publish(subject, write_meta(body, "bp_weather"))
        await attacker.request("$O.bp_weather.C.y", b"")
        for via in ("nats", "http"):
            with pytest.raises((BodyNotFoundError, BodyLostError)):
                await plane.pull(f"{plane.bridge_url}/s2sp/data/{as_weathers(weather, victim.body.id)}", via=via)


async def test_a_body_under_anothers_id_is_not_served_out_of_the_cache(
    weather: Plane, plane: Plane, attacker: Client, victim: Published
) -> None:
    raw = await plane.pull(victim.resource_url, via="http")
    body = replace(victim.body, owner="weather")
    await attacker.publish(Names().meta_subject("weather", victim.body.id), write_meta(body, "bp_weather"))
    await attacker.publish(Names().chunk_subject("weather", victim.body.id), b"x" * len(raw))
    await attacker.request("$O.bp_weather.C.y", b"")
    with pytest.raises(StorageError):
        await plane.pull(f"{plane.bridge_url}/s2sp/data/{as_weathers(weather, victim.body.id)}", via="http")
    assert await plane.pull(victim.resource_url, via="http") == raw


async def test_a_body_that_breaks_off_leaves_nothing_readable(weather: Plane, join: Join) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield os.urandom(3_000_000)
        raise ValueError("the source broke")

    view = await join("plane")
    before = (await stored(view))["OBJ_bp_weather"]["subjects"] or {}
    with pytest.raises(ValueError, match="broke"):
        await weather.publish_pieces(pieces(), ttl=60)
    left = set((await stored(view))["OBJ_bp_weather"]["subjects"]) - set(before)
    assert left
    assert all(".C." in subject for subject in left)  # chunks, which end with their time to live; no meta


async def test_a_role_that_was_not_said_is_named(broker: Running, plane: Plane, weather_settings: Settings) -> None:
    began = monotonic()
    with pytest.raises(NotPermittedError, match="BROKER_PLANE_ROLE=source"):
        async with Plane.connect(replace(weather_settings, role="plane")):
            pass
    with pytest.raises(NotPermittedError, match="BROKER_PLANE_OWNER"):
        async with Plane.connect(replace(weather_settings, owner=OTHER)):
            pass
    assert monotonic() - began < weather_settings.request_timeout_seconds


async def test_an_owner_without_a_bucket_is_told_who_makes_it(crm: Wiring) -> None:
    with pytest.raises(StorageError, match="owners add nobody"):
        await wait_for_bucket(crm.connection, "nobody", 0.1)
    await wait_for_bucket(crm.connection, OTHER, 5)


async def test_two_processes_of_one_owner_seal_with_one_key_and_two_keys_are_live(
    weather: Plane, weather_settings: Settings, plane: Plane
) -> None:
    keys = weather_settings.data_dir / "keys"
    assert (keys / "weather").stat().st_mode & 0o777 == 0o600
    assert keys.stat().st_mode & 0o777 == 0o700
    async with Plane.connect(weather_settings) as second:
        first_grant = (await weather.publish(b"body", uses="unlimited")).grant
        assert first_grant[:6] == (await second.publish(b"body", uses="unlimited")).grant[:6]
        await second.keys.rotate()
        second_grant = (await weather.publish(b"body", uses="unlimited")).grant
        assert second_grant[:6] != first_grant[:6]
        for grant in (second_grant, first_grant):
            assert await plane.pull(f"bp.pull.{grant}") == b"body"
        await weather.keys.rotate()
        third_grant = (await second.publish(b"body", uses="unlimited")).grant
        for grant in (third_grant, second_grant):
            assert await plane.pull(f"bp.pull.{grant}") == b"body"
        with pytest.raises(GrantRefusedError):
            await plane.pull(f"bp.pull.{first_grant}")
