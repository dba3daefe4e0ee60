"""Versions of a feed on a real nats-server: a notice is there if and only if its body can be pulled."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import Any

import polars
import pytest

from broker_plane import Plane
from broker_plane.errors import (
    BodyNotFoundError,
    BrokerUnavailableError,
    FeedNotFoundError,
    SchemaError,
    WireError,
)
from broker_plane.plane.bodies.publish import PublishOrder
from broker_plane.plane.feeds.orphans import sweep
from broker_plane.plane.feeds.ports import DurablePosition
from broker_plane.plane.feeds.retention import Retention
from broker_plane.plane.feeds.tables import Tables
from broker_plane.plane.feeds.version import Version
from broker_plane.plane.feeds.version_publisher import VersionPublisher
from broker_plane.wire.feeds import Notice, parse_feed
from broker_plane.wire.names import BodyId

pytestmark = pytest.mark.anyio


def contacts(count: int) -> list[dict[str, Any]]:
    """Rows as a CRM has them: little in one repeats what stands in another."""
    dice = random.Random(7)
    return [
        {
            "id": number,
            "name": f"{dice.randbytes(5).hex()} {dice.randbytes(6).hex()}",
            "mail": f"{dice.randbytes(6).hex()}@example.org",
            "city": dice.choice(["Prague", "Oslo", "Lisbon", "Quito"]),
            "phone": f"+{dice.randrange(10**10, 10**11)}",
            "note": dice.randbytes(20).hex(),
        }
        for number in range(count)
    ]


async def versions(plane: Plane, feed: str) -> list[Notice]:
    async with aclosing(plane.feeds.versions(feed)) as notices:
        return [notice async for notice in notices]


async def stored(plane: Plane, feed: str) -> set[BodyId]:
    return {body.id for body in await plane.bodies.list() if body.feed == feed}


async def test_each_change_is_a_version_and_the_same_rows_are_none(plane: Plane, feed: str) -> None:
    rows = contacts(20)
    first = await plane.publish(rows, feed=feed, key="id", uses="unlimited")
    again = await plane.publish(list(reversed(rows)), feed=feed, key="id", uses="unlimited")
    assert (first.version, again.version) == (1, 1)
    assert await plane.pull(again.resource_url, via="nats") == rows
    rows[3] = rows[3] | {"city": "Turin"}
    assert (await plane.publish(rows, feed=feed, key="id")).version == 2
    assert [notice.version for notice in await versions(plane, feed)] == [1, 2]
    assert await stored(plane, feed) == {body.id for notice in await versions(plane, feed) for body in notice.bodies()}


async def test_a_table_is_its_rows(plane: Plane, feed: str) -> None:
    rows = contacts(20)
    assert (await plane.publish(rows, feed=feed, key="id")).version == 1
    assert (await plane.publish(polars.DataFrame(rows), feed=feed, key="id")).version == 1
    changed = polars.DataFrame([{"id": 3, "city": "Turin"}])
    assert (await plane.publish(changed, feed=feed, key="id", kind="delta")).version == 2


async def test_the_same_bytes_are_one_version(plane: Plane, feed: str) -> None:
    published = [(await plane.publish(raw, feed=feed)).version for raw in (b"a", b"a", b"b")]
    assert published == [1, 1, 2]
    assert len(await stored(plane, feed)) == 2


async def test_a_delta_in_makes_a_whole_version(plane: Plane, feed: str) -> None:
    rows = contacts(20)
    await plane.publish(rows, feed=feed, key="id")
    changed = [{"id": 3, "city": "Turin"}, {"id": 99, "name": "new"}]
    published = await plane.publish(changed, feed=feed, key="id", kind="delta", removed=[0, 1])
    now = {row["id"]: row for row in await plane.pull(published.resource_url, via="nats")}
    expected = {row["id"]: row for row in rows[2:]}
    expected[3] = rows[3] | {"city": "Turin"}
    expected[99] = {"id": 99, "name": "new"}
    assert now == expected


async def test_a_delta_of_nothing_is_an_error(plane: Plane, feed: str) -> None:
    with pytest.raises(FeedNotFoundError):
        await plane.publish([{"id": 1}], feed=feed, key="id", kind="delta")
    assert not await stored(plane, feed)


async def test_a_broken_schema_is_a_named_error_and_nothing_is_kept(plane: Plane, feed: str) -> None:
    await plane.publish([{"id": 1, "n": 1}], feed=feed, key="id")
    kept = await stored(plane, feed)
    with pytest.raises(SchemaError, match="'n'"):
        await plane.publish([{"id": 1}], feed=feed, key="id")
    with pytest.raises(SchemaError, match="'n'"):
        await plane.publish([{"id": 1, "n": "x"}], feed=feed, key="id")
    assert await stored(plane, feed) == kept
    assert (await plane.publish([{"id": 1}], feed=feed, key="id", new_schema=True)).version == 2


async def test_publishers_at_the_same_moment_make_one_version_each(plane: Plane, feed: str) -> None:
    rows = contacts(5)
    await plane.publish(rows, feed=feed, key="id")
    changes = [[{"id": number, "city": "Turin"}] for number in range(5)]
    await asyncio.gather(*(plane.publish(change, feed=feed, key="id", kind="delta") for change in changes))
    notices = await versions(plane, feed)
    assert [notice.version for notice in notices] == [1, 2, 3, 4, 5, 6]
    last = await plane.feeds.rows(notices[-1])
    assert [row["city"] for row in last] == ["Turin"] * 5
    assert await stored(plane, feed) == {body.id for notice in notices for body in notice.bodies()}


@pytest.mark.parametrize(
    ("retention", "kept"),
    [(Retention(versions=2), [4, 5]), (Retention(bytes=1), [5]), (Retention(seconds=0), [5]), (Retention(), None)],
)
async def test_retention_takes_the_oldest_with_their_bodies(
    plane: Plane, feed: str, retention: Retention, kept: list[int] | None
) -> None:
    for number in range(5):
        await plane.publish([{"id": 1, "n": number}], feed=feed, key="id", retention=retention)
    notices = await versions(plane, feed)
    assert [notice.version for notice in notices] == (kept or [1, 2, 3, 4, 5])
    assert await stored(plane, feed) == {body.id for notice in notices for body in notice.bodies()}


async def test_one_percent_changed_rows_move_under_three_percent_of_the_bytes(plane: Plane, feed: str) -> None:
    await moved(plane, feed, 5_000)


@pytest.mark.full
async def test_one_percent_of_a_hundred_thousand_rows_moves_under_three_percent(plane: Plane, feed: str) -> None:
    await moved(plane, feed, 100_000)


async def moved(plane: Plane, feed: str, count: int) -> None:
    rows = contacts(count)
    await plane.publish(rows, feed=feed, key="id")
    before = {(row["id"],): dict(row) for row in rows}
    for number in range(0, count, 100):
        rows[number] = rows[number] | {"city": f"Turin {number}", "note": f"moved {number}"}
    await plane.publish(rows, feed=feed, key="id")
    notice = (await versions(plane, feed))[-1]
    changes = await plane.feeds.changes(notice, 1)
    share = changes.size / notice.body.size
    print(f"\n{count} rows, 1 % changed: {changes.size} of {notice.body.size} bytes, {share:.2%}")
    assert not changes.whole
    assert changes.size < 0.03 * notice.body.size
    changes.apply(before)
    assert list(before.values()) == rows


async def test_who_is_behind_gets_the_deltas_or_the_whole_where_that_is_less(plane: Plane, feed: str) -> None:
    rows = contacts(200)
    states = [list(rows)]
    await plane.publish(rows, feed=feed, key="id")
    for number in range(12):
        rows[number] = rows[number] | {"city": f"Turin {number}"}
        states.append(list(rows))
        await plane.publish(rows, feed=feed, key="id")
    rows = [row | {"note": f"another {row['id']}", "mail": f"{row['id']}", "phone": "", "name": ""} for row in rows]
    states.append(rows)
    await plane.publish(rows, feed=feed, key="id")
    notices = await versions(plane, feed)
    for since, target in [(1, 13), (12, 13), (13, 13), (0, 13), (1, 14), (13, 14)]:
        changes = await plane.feeds.changes(notices[target - 1], since)
        table = {(row["id"],): dict(row) for row in states[since - 1]} if 0 < since <= 14 else {(7,): {"id": 7}}
        changes.apply(table)
        assert {key[0]: row for key, row in table.items()} == {row["id"]: row for row in states[target - 1]}
        assert changes.size <= notices[target - 1].body.size
        assert changes.whole == ((since, target) in [(0, 13)] or changes.size == notices[target - 1].body.size)
    assert not (await plane.feeds.changes(notices[12], 1)).whole
    nothing = await plane.feeds.changes(notices[12], 14)
    assert (len(nothing.delta), nothing.whole) == (0, False)


async def test_a_body_of_a_feed_without_a_notice_is_freed_and_one_with_a_notice_stays(
    plane: Plane, feed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plane.publish([{"id": 1}], feed=feed, key="id")

    async def no_positions(feed: str) -> list[DurablePosition]:
        return []

    async def breaks(notice: Notice, after: int) -> int:
        raise BrokerUnavailableError("the broker went away")

    log, wiring = plane.feeds.adapters.log, plane.wiring
    publisher = VersionPublisher(
        log, wiring.store, wiring.publisher, Tables(wiring.store), no_positions, now=wiring.now, retry_seconds=0
    )
    with monkeypatch.context() as broken:
        broken.setattr(log, "commit", breaks)
        with pytest.raises(BrokerUnavailableError):
            await publisher.publish([{"id": 2}], PublishOrder(ttl=600, uses=1), Version(feed=feed, key=("id",)))
    named = {body.id for notice in await versions(plane, feed) for body in notice.bodies()}
    orphans = await stored(plane, feed) - named
    assert orphans
    bodies = {body.id: body for body in await plane.bodies.list()}
    young = bodies[next(iter(orphans))].created + 3000
    await sweep(log, wiring.store, "local", now=lambda: young)
    assert await stored(plane, feed) == named | orphans
    await sweep(log, wiring.store, "local", now=lambda: young + 3000)
    assert await stored(plane, feed) == named


async def test_a_version_that_retention_took_is_a_named_error(plane: Plane, feed: str) -> None:
    await plane.publish([{"id": 1}], feed=feed, key="id")
    old = (await versions(plane, feed))[0]
    await plane.publish([{"id": 2}], feed=feed, key="id", retention=Retention(versions=1))
    with pytest.raises(FeedNotFoundError, match="no longer retained"):
        await plane.feeds.rows(old)
    with pytest.raises(BodyNotFoundError):
        await plane.wiring.store.info("local", old.body.id)


@pytest.mark.parametrize("name", ["", "a.b.c.d.e", "A", "a..b", "a.*", "a b", ">", "bp/feed"])
def test_what_is_no_name_is_no_feed(name: str) -> None:
    with pytest.raises(WireError):
        parse_feed(name)
