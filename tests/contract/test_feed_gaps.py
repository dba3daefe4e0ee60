"""What changed since a version can be told although retention, another key, a lost delta or a crash lie in between."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
import pytest

from broker_plane import Plane
from broker_plane.errors import BrokerPlaneError, FeedGapError
from broker_plane.plane.feeds.changes import Changes
from broker_plane.plane.feeds.effects import Checkpoint
from broker_plane.plane.feeds.message import FeedMessage
from broker_plane.plane.feeds.retention import Retention
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.subjects import feed_requests
from broker_plane.subjects.feed_versions import GrantedVersions
from broker_plane.testing.server import eventually
from broker_plane.wire.feeds import Notice
from tests.contract.test_feed_changes import check

pytestmark = pytest.mark.anyio
Row = dict[str, Any]
AT_ONCE = RetrySchedule(delays=(0.0,) * 9)
ONE_VERSION = Retention(versions=1)


def contacts(count: int = 30) -> list[Row]:
    return [{"id": number, "mail": f"{uuid4().hex}@contacts.example", "n": 0} for number in range(count)]


async def notices(plane: Plane, feed: str) -> list[Notice]:
    async with aclosing(plane.feeds.versions(feed)) as found:
        return [notice async for notice in found]


async def publish(plane: Plane, feed: str, rows: list[Row], **options: Any) -> int:
    return (await plane.publish(rows, feed=feed, **{"key": "id", **options})).version


async def lost_version(plane: Plane, feed: str, notice: Notice) -> None:
    """As if retention had taken it."""
    await plane.feeds.adapters.log.drop(notice)
    for body in notice.bodies():
        await plane.wiring.store.delete(body.owner, body.id)


def told(changes: Changes) -> tuple[list[Any], list[Any], list[Any]]:
    return tuple(sorted(row["id"] for row in rows) for rows in (changes.added, changes.changed, changes.removed))  # type: ignore[return-value]


async def test_a_durable_that_is_away_is_told_what_went_although_retention_took_the_versions_between(
    plane: Plane, feed: str
) -> None:
    rows = contacts()
    await publish(plane, feed, rows)
    durable = f"email_{uuid4().hex}"
    async with aclosing(plane.subscribe(feed, durable=durable, retries=AT_ONCE)) as messages:
        assert len((await (await anext(messages)).changes()).added) == 30
        waiting = asyncio.ensure_future(anext(messages))  # so that it is taken
        await taken(plane, durable, 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    for number in range(4):  # each is another one, and only the newest is kept
        rows = [row | {"n": number + 1} for row in rows[1:]]
        await publish(plane, feed, rows, retention=ONE_VERSION)
    kept = [notice.version for notice in await notices(plane, feed)]
    assert kept[0] == 1 and kept[-1] == 5 and len(kept) <= 3
    table: dict[Any, Row] = {}
    async with aclosing(plane.subscribe(feed, durable=durable, retries=AT_ONCE)) as messages:
        changes = await (await anext(messages)).changes()
        assert changes.since == 1
        if changes.version == 5:
            assert told(changes) == ([], list(range(4, 30)), [0, 1, 2, 3])
        changes.apply(table)


async def taken(plane: Plane, durable: str, version: int) -> None:
    async def there() -> bool:
        return await Checkpoint(plane.feeds.adapters.entries, durable).load() >= version

    await eventually(there)


@pytest.mark.parametrize("seed", range(6))
async def test_a_durable_that_comes_and_goes_and_fails_is_told_exactly_what_changed(
    plane: Plane, feed: str, seed: int
) -> None:
    """Only the newest version is kept beside the one where the durable stands; half of them have a grant."""
    dice, durable = random.Random(seed), f"email_{uuid4().hex}"
    states: list[list[Row]] = [[]]
    rows = contacts(12)
    had: list[Row] = []
    shown = (lambda row: row["n"] < 2) if seed % 2 else (lambda row: True)
    fails = False

    async def handle(message: FeedMessage) -> None:
        nonlocal had, fails
        changes = await message.changes()
        now = [row for row in states[message.version] if shown(row)]
        check(changes, had, now)
        fails = not fails
        if fails:
            raise ConnectionError("the next try is told the same")
        had = now

    await publish(plane, feed, rows)
    states.append(rows)
    grant: Any = {"grant": (await plane.feeds.grant(feed, where="n < 2")).resource_url} if seed % 2 else {}
    for _ in range(4):
        running = asyncio.create_task(
            plane.on_notice(feed, handle, durable=durable, retries=AT_ONCE, ack_seconds=1.0, **grant)
        )
        await taken(plane, durable, len(states) - 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for _ in range(dice.randrange(1, 4)):
            rows = [row | {"n": dice.randrange(4)} for row in rows if dice.random() < 0.8]
            rows += [{"id": number, "mail": "new", "n": 0} for number in range(3) if number not in _ids(rows)]
            states.append(rows)
            assert await publish(plane, feed, rows, retention=ONE_VERSION) == len(states) - 1
    assert await plane.feeds.dead_letters(durable) == []


def _ids(rows: list[Row]) -> set[int]:
    return {row["id"] for row in rows}


@pytest.mark.parametrize("sent", ["nats", "grant", "http"])
async def test_a_version_that_retention_took_is_a_named_gap_unless_the_deltas_lead_on(
    plane: Plane, feed: str, sent: str
) -> None:
    rows = contacts()
    await publish(plane, feed, rows)
    for number in range(3):
        await publish(plane, feed, [row | {"n": number + 1} if row["id"] == number else row for row in rows])
    found = await notices(plane, feed)
    url = (await plane.feeds.grant(feed)).resource_url
    granted = GrantedVersions(plane.pulls.nats, url)

    async def ask() -> tuple[list[Any], list[Any], list[Any]]:
        if sent == "http":
            async with httpx2.AsyncClient(trust_env=False) as client:
                fields = (await client.get(f"{url}/4/changes?since=1")).json()
            if fields["whole"]:
                raise FeedGapError("get the version")
            return tuple([row["id"] for row in fields[part]] for part in ("added", "changed", "removed"))  # type: ignore[return-value]
        return told(await (granted if sent == "grant" else plane.feeds.adapters.stored).changes(found[3], 1))

    assert await ask() == ([], [2], [])  # 0 and 1 were changed, and changed back
    for lost in (1, 2, 3):
        await lost_version(plane, feed, found[lost - 1])
        # Without version 1 nobody knows what the deltas changed back, and without version 2 its delta is lost.
        with pytest.raises(FeedGapError):
            await ask()


async def test_deltas_lead_on_where_the_version_that_was_had_is_gone(plane: Plane, feed: str) -> None:
    rows = contacts()
    states = [rows]
    await publish(plane, feed, rows)
    for number in range(3):
        rows = [row | {"n": number + 1} if row["id"] == number else row for row in rows if row["id"] != 10 + number]
        states.append(rows)
        await publish(plane, feed, rows)
    found = await notices(plane, feed)
    await lost_version(plane, feed, found[0])
    changes = await plane.feeds.changes(found[3], 1)
    check(changes, states[0], states[3])
    assert told(changes) == ([], [0, 1, 2], [10, 11, 12])


HAD: dict[str, Any] = {
    "a list": lambda rows: rows,
    "a dict by key": lambda rows: {(row["id"],): row for row in rows},
    "an iterator": iter,
    "some columns": lambda rows: [{"id": row["id"], "n": row["n"]} for row in rows],
    "and a column of its own, empty": lambda rows: [row | {"seen": None} for row in rows],
}


@pytest.mark.parametrize("made", HAD.values(), ids=HAD.keys())
async def test_behind_a_gap_the_version_is_compared_with_what_a_subscriber_says_it_has(
    plane: Plane, feed: str, made: Any
) -> None:
    rows = contacts()
    await publish(plane, feed, rows)
    now = [rows[0] | {"n": 5}, rows[1] | {"note": "new", "mail": rows[1]["mail"]}, *rows[3:], {"id": 99, "mail": None}]
    await publish(plane, feed, now)
    (first, _) = await notices(plane, feed)
    await lost_version(plane, feed, first)
    last = (await notices(plane, feed))[-1]
    await plane.feeds.adapters.log.commit(msgspec.structs.replace(last, version=3, delta=None), last.sequence)
    async with aclosing(plane.subscribe(feed, durable=f"email_{uuid4().hex}", retries=AT_ONCE)) as messages:
        message: FeedMessage = await anext(messages)
        with pytest.raises(FeedGapError, match=r"had=rows"):
            await message.changes(1)
        changes = await message.changes(1, had=made(rows))
        assert told(changes) == ([99], [0], [2])
        assert changes.added == [{"id": 99, "mail": None}] and changes.changed == [{"id": 0, "n": 5}]
        assert told(await message.changes(0))[0] == sorted(row["id"] for row in now)


async def test_a_feed_of_a_version_before_that_kept_no_large_deltas_is_compared(plane: Plane, feed: str) -> None:
    """What was changed in every row has a delta no longer than the version; earlier versions kept none."""
    rows = contacts()
    await publish(plane, feed, rows)
    now = [row | {"mail": uuid4().hex, "n": 1} for row in rows[1:]]
    await publish(plane, feed, now)
    (_, second) = await notices(plane, feed)
    bare = msgspec.structs.replace(second, delta=None)
    changes = await plane.feeds.changes(bare, 1)
    assert changes.whole
    check(changes, rows, now)
    assert told(changes) == ([], list(range(1, 30)), [0])


@pytest.mark.parametrize("most", [0, 1 << 20])
async def test_a_grants_holder_is_told_the_same_where_the_changes_do_not_fit_into_an_answer(
    plane: Plane, feed: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_requests, "IN_ANSWER_BYTES", most)
    rows = contacts()
    now = [row | {"n": 1} if row["id"] < 5 else row for row in rows[2:]]
    await publish(plane, feed, rows)
    await publish(plane, feed, now)
    last = (await notices(plane, feed))[-1]
    for where, before, after in (
        (None, rows, now),
        ("n = 0", rows, [row for row in now if not row["n"]]),
        ("n = 1", [], [row for row in now if row["n"]]),
    ):
        granted = GrantedVersions(plane.pulls.nats, (await plane.feeds.grant(feed, where=where)).resource_url)
        changes = await granted.changes(last, 1)
        assert changes.whole == (not most)
        check(changes, before, after)


KEYS: dict[str, tuple[Any, list[Row], Any, list[Row], tuple[int, int, int]]] = {
    "one that rows had": ("id", [{"id": 1, "m": 2}, {"id": 2, "m": 1}], "m", [{"id": 1, "m": 2}], (0, 0, 1)),
    "one that rows had, and a change": ("id", [{"id": 1, "m": 7}], "m", [{"id": 5, "m": 7}], (0, 1, 0)),
    "two of one": ("id", [{"id": 1, "m": 2}], ("id", "m"), [{"id": 1, "m": 2}, {"id": 1, "m": 3}], (1, 0, 0)),
    "one of two": (("id", "m"), [{"id": 1, "m": 2}, {"id": 2, "m": 2}], "id", [{"id": 1, "m": 3}], (0, 1, 1)),
    "one that no row had": ("id", [{"id": 1}, {"id": 2}], "m", [{"m": 1}, {"m": 2}, {"m": 3}], (3, 0, 2)),
    "one that two rows shared": ("id", [{"id": 1, "m": 1}, {"id": 2, "m": 1}], "m", [{"id": 1, "m": 1}], (1, 0, 2)),
    "the other order": (("id", "m"), [{"id": 1, "m": 2}], ("m", "id"), [{"id": 1, "m": 2, "n": 1}], (0, 1, 0)),
    "none any more": ("id", [{"id": 1}, {"id": 2}], None, [{"id": 1}, {"id": 3}], (1, 0, 1)),
    "one at last": (None, [{"id": 1}, {"id": 2}], "id", [{"id": 1}, {"id": 3}], (1, 0, 1)),
    "never one": (None, [{"a": 1}, {"a": 1}, {"a": 2}], None, [{"a": 1}, {"a": 3}], (1, 0, 2)),
    "the same": ("id", [{"id": 1}], "id", [{"id": 2}], (1, 0, 1)),
}


@pytest.mark.parametrize(("key", "before", "then", "after", "counts"), KEYS.values(), ids=KEYS.keys())
@pytest.mark.parametrize("way", ["plane", "grant"])
async def test_rows_are_told_apart_by_the_key_of_the_version(
    plane: Plane, feed: str, key: Any, before: Any, then: Any, after: Any, counts: Any, way: str
) -> None:
    await plane.publish(before, feed=feed, key=key)
    await plane.publish(after, feed=feed, key=then, new_schema=True)
    one, two = await notices(plane, feed)
    granted = GrantedVersions(plane.pulls.nats, (await plane.feeds.grant(feed)).resource_url)
    versions: Any = plane.feeds.adapters.stored if way == "plane" else granted
    changes = await versions.changes(two, 1)
    assert tuple(map(len, (changes.added, changes.changed, changes.removed))) == counts
    table: dict[Any, Row] = {}
    for each in (await versions.changes(one, 0), changes, changes):
        each.apply(table)
    assert sorted(map(repr, table.values())) == sorted(map(repr, after))
    async with httpx2.AsyncClient(trust_env=False) as client:
        fields = (await client.get(f"{granted._address}/2/changes?since=1")).json()
    assert fields["whole"] == (key != then or then is None)


async def test_an_error_is_the_same_for_whoever_asks_with_a_grant(plane: Plane, feed: str) -> None:
    await plane.publish(b"opaque", feed=feed)
    (notice,) = await notices(plane, feed)
    granted = GrantedVersions(plane.pulls.nats, (await plane.feeds.grant(feed)).resource_url)
    for versions in (plane.feeds.adapters.stored, granted):
        with pytest.raises(BrokerPlaneError, match=r"use message\.rows"):
            await versions.changes(notice, 0)
