"""The Puller port: over HTTP and over the presigned subject, one suite for both, on a real bridge and nats-server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
import pytest

from broker_plane import Plane, Published
from broker_plane.config import Settings
from broker_plane.errors import (
    BodyLostError,
    BodyNotFoundError,
    GrantExpiredError,
    GrantRefusedError,
    GrantUsedError,
    SelectorError,
    UntrustedHostError,
    WireError,
)
from broker_plane.runtime.pulls import Via
from broker_plane.testing.server import eventually
from broker_plane.wire.plane_names import Names
from tests.interaction.tables import typed, wide

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(settings: Settings, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.fixture(params=["http", "nats"])
def via(request: pytest.FixtureRequest) -> Via:
    way: Via = request.param
    return way


@pytest.mark.parametrize("count", [0, 1, 8, 1000, 20_000])
async def test_rows_arrive_as_they_were_published(plane: Plane, via: Via, count: int) -> None:
    rows = wide(count)
    published = await plane.publish(rows)
    assert await plane.pull(published.resource_url, via=via) == rows


@pytest.mark.parametrize("size", [0, 1, 600_000, 1_000_000, 9_000_000])
async def test_opaque_bodies_arrive_as_they_were_published(plane: Plane, via: Via, size: int) -> None:
    raw = os.urandom(size)
    published = await plane.publish(raw)
    assert await plane.pull(published.resource_url, via=via) == raw


async def test_every_type_arrives_on_every_way(plane: Plane, via: Via) -> None:
    rows = typed()
    published = await plane.publish(rows, uses=2)
    assert repr(await plane.pull(published.resource_url, via=via)) == repr(rows)
    projected = await plane.pull(published.resource_url, columns=["cost", "big"], row_ids=[0], via=via)
    assert projected == [{"cost": rows[0]["cost"], "big": 2**70}]


async def test_a_projection_has_its_columns_and_rows_in_the_askers_order(plane: Plane, via: Via) -> None:
    rows = wide(4_000)
    published = await plane.publish(rows, uses=3)
    row_ids = [3_999, 0, 512, 7]
    pulled = await plane.pull(published.resource_url, columns=["c7", "c1"], row_ids=row_ids, via=via)
    assert pulled == [{"c7": rows[row_id]["c7"], "c1": rows[row_id]["c1"]} for row_id in row_ids]
    assert list(pulled[0]) == ["c7", "c1"]
    assert await plane.pull(published.resource_url, columns=["c28"], via=via) == [{"c28": row["c28"]} for row in rows]
    assert await plane.pull(published.resource_url, row_ids=row_ids, via=via) == [rows[row_id] for row_id in row_ids]


async def test_a_large_cut_comes_in_windows(plane: Plane, via: Via) -> None:
    rows = [{"a": os.urandom(500), "b": os.urandom(10)} for _ in range(20_000)]
    published = await plane.publish(rows, uses=2)
    assert await plane.pull(published.resource_url, columns=["a"], via=via) == [{"a": row["a"]} for row in rows]
    every_other = list(range(0, 20_000, 2))
    assert await plane.pull(published.resource_url, row_ids=every_other, via=via) == rows[::2]


async def test_selecting_nothing_gives_nothing(plane: Plane, via: Via) -> None:
    published = await plane.publish(wide(3), uses=2)
    assert await plane.pull(published.resource_url, row_ids=[], via=via) == []
    assert await plane.pull(published.resource_url, columns=[], via=via) == [{}, {}, {}]


@pytest.mark.parametrize("asked", [{"columns": ["nothing"]}, {"row_ids": [3]}, {"row_ids": [-1]}])
async def test_a_selector_of_what_is_not_there_is_refused_and_uses_nothing_up(
    plane: Plane, via: Via, asked: dict[str, Any]
) -> None:
    published = await plane.publish(wide(3))
    with pytest.raises(SelectorError):
        await plane.pull(published.resource_url, via=via, **asked)
    assert len(await plane.pull(published.resource_url, via=via)) == 3


@pytest.mark.parametrize("asked", [{"row_ids": ["0"]}, {"row_ids": [0.0]}, {"row_ids": [True]}, {"row_ids": [1, 1]}])
async def test_row_ids_are_whole_numbers_that_stand_once(plane: Plane, asked: dict[str, Any]) -> None:
    published = await plane.publish(wide(3))
    with pytest.raises(SelectorError, match="row_ids"):
        await plane.pull(published.resource_url, **asked)


async def test_a_used_grant_says_so_and_a_forged_one_says_nothing(plane: Plane, via: Via) -> None:
    published = await plane.publish(wide(3))
    await plane.pull(published.resource_url, via=via)
    with pytest.raises(GrantUsedError, match="used up"):
        await plane.pull(published.resource_url, via=via)
    last = published.resource_url[-1]
    forged = published.resource_url[:-1] + ("A" if last != "A" else "B")
    with pytest.raises(GrantRefusedError, match=r"^Unknown or expired resource$"):
        await plane.pull(forged, via=via)


async def test_an_unlimited_grant_is_never_used_up(plane: Plane, via: Via) -> None:
    published = await plane.publish(b"body", uses="unlimited")
    for _ in range(10):
        assert await plane.pull(published.resource_url, via=via) == b"body"


async def expired(plane: Plane) -> Published:
    published = await plane.publish(b"body", ttl=1)

    async def over() -> bool:
        try:
            await plane.grants.body_of(published.grant)
        except GrantExpiredError:
            return True
        return False

    await eventually(over)
    return published


async def test_an_expired_grant_says_so(plane: Plane, via: Via) -> None:
    published = await expired(plane)
    with pytest.raises(GrantExpiredError, match="expired"):
        await plane.pull(published.resource_url, via=via)


async def test_a_deleted_body_is_gone_for_genuine_holders(plane: Plane, via: Via) -> None:
    published = await plane.publish(b"body")
    await plane.bodies.delete(published.body.id)
    with pytest.raises(BodyNotFoundError, match="deleted"):
        await plane.pull(published.resource_url, via=via)


async def test_a_body_that_the_store_lost_is_not_said_to_be_deleted(plane: Plane, via: Via) -> None:
    published = await plane.publish(b"body", uses="unlimited")
    wiring = plane.wiring
    for subject_of in (Names().meta_subject, Names().chunk_subject):
        subject = subject_of(published.body.owner, published.body.id)
        await wiring.connection.api(f"STREAM.PURGE.{Names().object_stream(published.body.owner)}", {"filter": subject})
    with pytest.raises(BodyLostError, match="lost it"):
        await plane.pull(published.resource_url, via=via)
    if via == "nats":
        return  # on the server that tests share, another bridge may have answered
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert 'bodies_lost_total{way="http"} 1' in (await client.get(f"{plane.bridge_url}/metrics")).text


async def test_a_body_that_was_freed_after_its_last_use_is_not_lost(plane: Plane, via: Via) -> None:
    published = await plane.publish(b"body", delete_when_used=True, uses=2)
    for _ in range(2):
        await plane.pull(published.resource_url, via=via)

    async def freed() -> bool:
        return published.body.id not in {body.id for body in await plane.bodies.list()}

    await eventually(freed)
    assert not await plane.wiring.grants.deletions.lost(published.body.id, published.body.expires)


async def test_a_pull_that_is_left_early_gives_the_use_back(plane: Plane, via: Via) -> None:
    rows = [{"a": os.urandom(1000)} for _ in range(20_000)]
    published = await plane.publish(rows)
    async with aclosing(plane.iterate(published.resource_url, via=via)) as iterated:
        async for row in iterated:
            assert row == rows[0]
            break
    assert await plane.pull(published.resource_url, via=via) == rows


async def test_a_body_that_its_taker_refuses_is_not_used_up(plane: Plane, via: Via) -> None:
    published = await plane.publish(wide(3))
    for _ in range(2):
        with pytest.raises(ValueError, match="not these"):
            async with plane.pulls.open(published.resource_url, via=via) as incoming:
                assert [piece async for piece in incoming.pieces]
                raise ValueError("not these")
    assert await plane.pull(published.resource_url, via=via) == wide(3)


async def test_rows_can_be_taken_one_by_one(plane: Plane, via: Via) -> None:
    rows = wide(5_000)
    published = await plane.publish(iter(rows))
    assert [row async for row in plane.iterate(published.resource_url, via=via)] == rows


async def test_the_old_key_still_opens_after_a_rotation_and_the_one_before_it_no_more(plane: Plane, via: Via) -> None:
    first = await plane.publish(b"first", uses="unlimited")
    await plane.keys.rotate()
    second = await plane.publish(b"second", uses="unlimited")
    assert await plane.pull(second.resource_url, via=via) == b"second"
    assert await plane.pull(first.resource_url, via=via) == b"first"


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/s2sp/data/{grant}",
        "http://127.0.0.1@example.org/s2sp/data/{grant}",
        "http://127.0.0.1/elsewhere/{grant}",
        "http://127.0.0.1/s2sp/data/not-a-grant",
        "http://127.0.0.1/s2sp/data/{grant}?x=1",
        "file:///s2sp/data/{grant}",
        "http://[::ffff:10.0.0.1]/s2sp/data/{grant}",
        "http://0x7f.1/s2sp/data/{grant}",
    ],
)
async def test_no_other_host_is_followed(plane: Plane, address: str) -> None:
    published = await plane.publish(b"body")
    with pytest.raises(UntrustedHostError):
        await plane.pull(address.format(grant=published.grant))


async def test_text_without_a_grant_is_named_as_such(plane: Plane) -> None:
    with pytest.raises(WireError, match="no grant"):
        await plane.pull("bp.pull.nothing")


@pytest.mark.parametrize("uses", [-1, 65_536])
async def test_uses_that_no_grant_can_count_are_named_and_nothing_is_kept(plane: Plane, uses: int) -> None:
    before = {body.id for body in await plane.bodies.list()}
    with pytest.raises(WireError, match="65535"):
        await plane.publish([{"a": 1}], uses=uses)
    assert {body.id for body in await plane.bodies.list()} <= before  # those of other tests may end meanwhile


@pytest.mark.parametrize("size", [2_000, 3 * (4 << 20)])
async def test_a_deleted_body_is_gone_where_it_was_pulled_before(plane: Plane, via: Via, size: int) -> None:
    """What a bridge keeps of a body is never an answer to whether it is still there."""
    published = await plane.publish(os.urandom(size), uses="unlimited")
    for _ in range(3):
        assert len(await plane.pull(published.resource_url, via=via)) == size
    await plane.bodies.delete(published.body.id)
    for _ in range(3):
        with pytest.raises(BodyNotFoundError, match="deleted"):
            await plane.pull(published.resource_url, via=via)
