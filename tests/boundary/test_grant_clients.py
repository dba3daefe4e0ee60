"""The grant as the credential: who has nothing else pulls with it, until it ends."""

from __future__ import annotations

import os

import nats.errors
import pytest
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import (
    BrokerAccessDeniedError,
    ForbiddenError,
    GrantInUseError,
    NotPermittedError,
)
from broker_plane.wire.names import asker_of
from broker_plane.wire.plane_names import Names
from tests.boundary.conftest import Admit, Join
from tests.deploy.running import Running
from tests.interaction.tables import wide

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("size", [0, 1000, 600_000, 9_000_000])
async def test_a_body_is_pulled_with_nothing_but_its_grant(weather: Plane, broker: Running, size: int) -> None:
    raw = os.urandom(size)
    published = await weather.publish(raw)
    async with Plane.guest(f"nats://{broker.address}") as guest:
        assert await guest.pull(published.resource_url) == raw


async def test_rows_are_cut_for_it_as_for_others(weather: Plane, broker: Running) -> None:
    rows = wide(20_000)
    published = await weather.publish(rows, uses=2)
    async with Plane.guest(broker.address) as guest:
        assert await guest.pull(published.subject, columns=["c7"], row_ids=[19_999, 3]) == [
            {"c7": rows[19_999]["c7"]},
            {"c7": rows[3]["c7"]},
        ]
        assert await guest.pull(published.grant, columns=["c28"]) == [{"c28": row["c28"]} for row in rows]


@pytest.mark.parametrize("change", ["last", "first", "none", "user"])
async def test_what_is_no_grant_is_not_let_in(weather: Plane, broker: Running, admit: Admit, change: str) -> None:
    grant = (await weather.publish(b"body")).grant
    other = "B" if grant[-1] == "A" else "A"
    token = {"last": grant[:-1] + other, "first": "B" + grant[1:], "none": "", "user": "stats"}[change]
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
        await admit(token)
    if change == "last":
        async with Plane.guest(broker.address) as guest:
            with pytest.raises(BrokerAccessDeniedError):
                await guest.pull(token)


async def test_it_is_cut_off_when_the_grant_ends_and_not_let_in_again(weather: Plane, admit: Admit) -> None:
    grant = (await weather.publish(b"body", ttl=2)).grant
    client = await admit(grant)
    await client.ended(10)
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
        await admit(grant)


async def test_a_guest_publishes_nothing(broker: Running) -> None:
    async with Plane.guest(broker.address) as guest:
        with pytest.raises(NotPermittedError, match="only pulls"):
            await guest.publish(b"body")
        with pytest.raises(NotPermittedError, match="guest"):
            await guest.bodies.list()


async def test_an_asker_with_a_user_pulls_by_its_name(
    weather: Plane, broker: Running, plane_settings: Settings
) -> None:
    published = await weather.publish(b"body", uses="unlimited")
    settings = replace(plane_settings, nats_url=broker.url("stats"), role="guest")
    async with Plane.connect(settings) as guest:
        assert await guest.pull(published.subject) == b"body"
        assert await guest.pull(published.resource_url) == b"body"


async def test_users_of_their_own_come_in_when_no_bridge_runs_and_grants_do_not(
    broker: Running, join: Join, admit: Admit
) -> None:
    for user in ("plane", "weather", "stats", "probe", "callout"):
        assert (await join(user)).nats.is_connected
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
        await admit("A" * 80)


async def test_two_processes_of_one_name_do_not_take_each_others_use(
    weather: Plane, broker: Running, plane_settings: Settings
) -> None:
    """The first holds its use while the second asks; both are `stats`."""
    raw = os.urandom(9_000_000)
    published = await weather.publish(raw)
    settings = replace(plane_settings, nats_url=broker.url("stats"), role="guest")
    subject = published.subject
    async with (
        Plane.connect(settings) as first,
        Plane.connect(settings) as second,
        first.pulls.open(subject) as incoming,
    ):
        with pytest.raises(GrantInUseError):
            await second.pull(subject)
        assert b"".join([piece async for piece in incoming.pieces]) == raw


async def test_a_narrowed_grant_connects_as_what_it_is_and_not_as_its_root(
    weather: Plane, broker: Running, admit: Admit
) -> None:
    published = await weather.publish(wide(10), uses="unlimited")
    narrowed = weather.narrow(published.resource_url, columns=["c1"], rows="0-1")
    async with Plane.guest(broker.address) as guest:
        assert await guest.pull(narrowed.grant) == [{"c1": row["c1"]} for row in wide(2)]
        assert (await guest.preview(narrowed.grant)).count == 2
    client = await admit(narrowed.grant)
    for asker in (client.asker, asker_of(published.grant)):
        assert await client.publish(f"{Names().pull_subject(published.grant)}.{asker}")
        assert bool(await client.subscribe(f"bp.dlv.{asker}.*")) is (asker != client.asker)


async def test_a_grant_for_a_named_asker_admits_that_one_and_nobody_who_only_has_the_grant(
    weather: Plane, broker: Running, plane_settings: Settings
) -> None:
    published = await weather.publish(b"body", uses="unlimited")
    theirs, others = (weather.narrow(published.grant, audience=name).grant for name in ("stats", "somebody"))
    async with Plane.guest(broker.address) as guest:
        for grant in (theirs, others):
            with pytest.raises(BrokerAccessDeniedError):
                await guest.pull(grant)
    settings = replace(plane_settings, nats_url=broker.url("stats"), role="guest")
    async with Plane.connect(settings) as stats:
        assert await stats.pull(f"bp.pull.{theirs}") == b"body"
        with pytest.raises(ForbiddenError):
            await stats.pull(f"bp.pull.{others}")
