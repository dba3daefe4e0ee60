"""A session as it runs in two processes at once: decided, stored, and told to everybody who follows."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from broker_plane.errors import (
    BrokerPlaneError,
    ForbiddenError,
    RateLimitedError,
    SessionNotFoundError,
    WireError,
)
from broker_plane.plane.sessions.followers import Event, Here, Resync
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.sessions.entries import pack_entries
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import Participant, hidden
from broker_plane.storage.sessions import NatsSessionLog
from broker_plane.testing.processes import until
from tests.contract.sessions import ANNA, BEN, OBSERVER, REVIEWER, Stage, insert, told

pytestmark = pytest.mark.anyio


async def test_what_one_process_acknowledges_is_stored_and_told_in_the_other(stage: Stage) -> None:
    session = await stage.create("world")
    one, two = await stage.live(session), await stage.live(session)
    with two.follow() as follower:
        answer = await one.ask({"do": "update", "base": 1, "change": ["hello "]}, ANNA)
        stored = await stage.entries(session)
        assert [entry.kind for entry in stored] == ["created", "joined", "operation"]
        assert stored[-1].revision == answer["revision"] == 3
        assert await told(follower, 2) == stored[1:]
    async with two.settled() as folded:
        assert folded.value == "hello world"
    shown = await two.ask({"do": "show"}, BEN)
    assert (shown["value"], shown["revision"], shown["status"]) == ("hello world", 3, "open")


async def test_processes_that_write_at_the_same_time_agree(stage: Stage) -> None:
    session = await stage.create("", limits={"operations_per_second": 10_000})
    lives = [await stage.live(session) for _ in range(3)]

    async def edit(live: LiveSession, who: Participant, letter: str) -> list[int]:
        return [await insert(live, who, letter) for _ in range(40)]

    writers = [edit(live, who, letter) for live in lives for who, letter in ((ANNA, "a"), (BEN, "b"))]
    revisions = [revision for each in await asyncio.gather(*writers) for revision in each]
    assert len(set(revisions)) == 240
    entries = await stage.entries(session)
    assert [entry.revision for entry in entries] == list(range(1, len(entries) + 1))
    operations = {entry.revision for entry in entries if entry.kind == "operation"}
    assert operations == set(revisions)
    replayed = Folded.of(entries)
    await until(lambda: {live.revision for live in lives} == {entries[-1].revision}, "all to have read the log")
    for live in lives:
        async with live.settled() as folded:
            assert (folded.value, folded.state) == (replayed.value, replayed.state)
    assert sorted(replayed.value) == ["a"] * 120 + ["b"] * 120


async def test_requests_that_arrive_during_a_write_are_one_group(stage: Stage) -> None:
    session = await stage.create("", limits={"operations_per_second": 10_000})
    live = await stage.live(session)
    await insert(live, ANNA, "x")
    await asyncio.gather(*[insert(live, ANNA, "y") for _ in range(100)])
    log = NatsSessionLog(stage.wiring.connection, stage.wiring.store)
    async with aclosing(log.read(session)) as groups:
        sizes = [len(group.entries) async for group in groups]
    assert sum(sizes) == 103
    assert len(sizes) < 30


async def test_a_request_that_is_refused_stores_nothing(stage: Stage) -> None:
    session = await stage.create("text")
    live = await stage.live(session)
    refusals: list[tuple[dict[str, Any], Participant, type[BrokerPlaneError]]] = [
        ({"do": "update", "base": 1, "change": ["x"]}, REVIEWER, ForbiddenError),
        ({"do": "note", "type": "comment", "text": "x"}, OBSERVER, ForbiddenError),
        ({"do": "close"}, ANNA, ForbiddenError),
        ({"do": "update", "base": 1, "change": [1_000, "x"]}, ANNA, BrokerPlaneError),
        ({"do": "nothing"}, ANNA, WireError),
    ]
    for fields, who, error in refusals:
        with pytest.raises(error):
            await live.ask(fields, who)
    assert [entry.kind for entry in await stage.entries(session)] == ["created"]


async def test_a_participant_that_sends_too_much_is_told_to_wait(stage: Stage) -> None:
    session = await stage.create("", limits={"operations_per_second": 5})
    live = await stage.live(session)
    results = await asyncio.gather(*[insert(live, ANNA, "x") for _ in range(20)], return_exceptions=True)
    limited = [each for each in results if isinstance(each, RateLimitedError)]
    assert len(limited) == 10
    assert all(each.retry_after for each in limited)
    assert await insert(live, BEN, "y")


async def test_a_slow_follower_is_told_to_resync(stage: Stage) -> None:
    session = await stage.create("", limits={"operations_per_second": 10_000, "notes_bytes": 64 << 20})
    live = await stage.live(session)
    with live.follow() as follower:
        for _ in range(12):
            await asyncio.gather(
                *[live.ask({"do": "note", "type": "comment", "text": "x" * 8_000}, ANNA) for _ in range(60)]
            )
        events: list[Event] = []
        with anyio.fail_after(10):
            while not events or not isinstance(events[-1], Resync):
                events.append(await anext(follower))
        assert events[-1] == Resync(live.revision)
        await insert(live, ANNA, "new")
        assert [entry.kind for entry in await told(follower, 1)] == ["operation"]


async def test_a_snapshot_and_the_log_after_it_are_the_whole_log(stage: Stage) -> None:
    session = await stage.create("", limits={"operations_per_second": 10_000})
    live = await stage.live(session, snapshot_entries=10)
    log = NatsSessionLog(stage.wiring.connection, stage.wiring.store)
    for number in range(25):
        await insert(live, ANNA, f"{number} ")

    async def stored() -> bool:
        return await log.load_snapshot(session) is not None

    await until(stored, "a snapshot")
    for number in range(5):
        await insert(live, BEN, f"{number}! ")
    snapshot = await log.load_snapshot(session)
    assert snapshot is not None
    assert 20 <= snapshot.revision < live.revision
    other = await stage.live(session)
    replayed = Folded.of(await stage.entries(session))
    for each in (live, other):
        async with each.settled() as folded:
            assert (folded.value, folded.state) == (replayed.value, replayed.state)
    shown = await other.ask({"do": "show", "revision": 12}, ANNA)
    assert shown["value"] == Folded.of((await stage.entries(session))[:12]).value
    entries = (await other.ask({"do": "log", "after": 3, "limit": 5}, ANNA))["entries"]
    assert [entry["revision"] for entry in entries] == [4, 5, 6, 7, 8]


async def test_an_anonymous_session_shows_pseudonyms_only(stage: Stage) -> None:
    session = await stage.create("text", anonymous=True)
    live = await stage.live(session)
    with live.follow(ANNA), live.follow() as follower:
        await insert(live, ANNA, "x")
        await live.ask({"do": "present", "state": {"colour": "red"}}, ANNA)
        heard: list[Any] = []
        with anyio.fail_after(10):
            while not any(each.get("state") for each in heard):
                event = await anext(follower)
                heard += event.participants if isinstance(event, Here) else ()
    assert all(each["id"].startswith("p-") for each in heard)
    packed = pack_entries(await stage.entries(session))
    assert b"anna" not in packed
    assert live.shown(ANNA).id.encode() in packed
    other = await stage.live(session)
    assert other.shown(ANNA) == live.shown(ANNA) != hidden(ANNA, session), "the key is on the log, and not the id"
    assert len(live.state.secret) == 22 and live.state.secret not in repr(await live.ask({"do": "log"}, ANNA))


async def test_a_session_is_found_by_its_owner_only(stage: Stage) -> None:
    session = await stage.create("text")
    host = stage.host()
    async with host.open(session, stage.owner):
        pass
    for asked, owner in ((session, "other"), ("A" * 22, "")):
        with pytest.raises(SessionNotFoundError):
            async with host.open(asked, owner):
                pass
