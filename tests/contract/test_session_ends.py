"""How sessions end, and how participants come and go."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from typing import Any

import anyio
import pytest

from broker_plane.errors import (
    SessionClosedError,
)
from broker_plane.plane.sessions.followers import Here
from broker_plane.sessions.participants import OWNER
from broker_plane.storage.sessions import NatsSessionLog
from broker_plane.testing.processes import until
from tests.contract.sessions import ANNA, BEN, OBSERVER, Stage, insert

pytestmark = pytest.mark.anyio


async def test_the_last_confirmation_closes_the_session_once(stage: Stage) -> None:
    session = await stage.create("final", expected=["anna", "ben"])
    one, two = await stage.live(session), await stage.live(session)
    assert (await one.ask({"do": "confirm"}, ANNA))["missing"] == ["ben"]
    await until(lambda: two.state.confirmed, "the other process to hear it")
    answer, refused = await asyncio.gather(
        two.ask({"do": "confirm"}, BEN), insert(one, ANNA, "late "), return_exceptions=True
    )
    assert answer["resource_url"].startswith("http://127.0.0.1:1/")
    entries = await stage.entries(session)
    assert [entry.kind for entry in entries].count("closed") == 1
    assert entries[-1].kind == "closed"
    body = await stage.wiring.store.info(stage.owner, entries[-1].content["body"])
    async with aclosing(stage.wiring.store.read(body)) as pieces:
        raw = b"".join([piece async for piece in pieces])
    assert raw == (b"late final" if not isinstance(refused, BaseException) else b"final")
    assert body.digest == answer["sha256"] == entries[-1].content["sha256"]
    await until(lambda: one.state.closure, "the other process to hear it")
    for live in (one, two):
        with pytest.raises(SessionClosedError):
            await insert(live, ANNA, "x")
        shown = await live.ask({"do": "show"}, OBSERVER)
        assert shown["status"] == "closed"
        assert shown["result"]["resource_url"]


async def test_nothing_comes_between_the_last_confirmation_and_the_end(stage: Stage) -> None:
    session = await stage.create("final", expected=["anna"])
    live = await stage.live(session)
    answer, refused = await asyncio.gather(
        live.ask({"do": "confirm"}, ANNA), insert(live, BEN, "late "), return_exceptions=True
    )
    assert isinstance(answer, dict)
    assert isinstance(refused, SessionClosedError)
    assert [entry.kind for entry in await stage.entries(session)] == ["created", "joined", "confirmed", "closed"]
    assert answer["sha256"] == sha256(b"final").hexdigest()


async def test_a_session_is_closed_once_however_many_ask(stage: Stage) -> None:
    session = await stage.create("final")
    lives = [await stage.live(session) for _ in range(3)]
    before = {body.id async for body in stage.wiring.store.list(stage.owner)}
    results = await asyncio.gather(*[live.ask({"do": "close"}, OWNER) for live in lives], return_exceptions=True)
    assert any(isinstance(each, dict) and each["resource_url"] for each in results)
    entries = await stage.entries(session)
    assert [entry.kind for entry in entries] == ["created", "closed"]
    after = {body.id async for body in stage.wiring.store.list(stage.owner)}
    assert after - before == {entries[-1].content["body"]}


async def test_a_confirmation_whose_process_died_still_closes_the_session(stage: Stage) -> None:
    session = await stage.create("final", expected=["anna"])
    entries = await stage.entries(session)
    log = NatsSessionLog(stage.wiring.connection, stage.wiring.store)
    joined = replace(
        entries[0],
        revision=2,
        participant=ANNA.id,
        role="editor",
        kind="joined",
        content={"name": "anna", "type": "agent", "verified": True},
    )
    live = await stage.live(session)
    async with aclosing(log.read(session)) as groups:
        sequence = (await anext(groups)).sequence
    await log.append(session, [joined, replace(joined, revision=3, kind="confirmed", content={})], sequence)
    await until(lambda: live.state.closure, "the session to be closed", 30)
    assert (await stage.entries(session))[-1].participant == "plane"


async def test_presence_is_told_everywhere_and_ends_with_the_connection(stage: Stage) -> None:
    session = await stage.create("text")
    one, two = await stage.live(session, vanished_seconds=0.05), await stage.live(session)
    with two.follow() as follower:
        with one.follow(ANNA):
            await one.ask({"do": "join"}, ANNA)
            lease = await one.ask({"do": "lease", "region": {"start": 0, "end": 2}}, ANNA)
            await one.ask({"do": "present", "at": {"cursor": 1}}, ANNA)

            async def is_here() -> bool:
                each = (await two.ask({"do": "show"}, BEN))["participants"][0]
                return bool(each["here"] and each.get("at") == {"cursor": 1})

            await until(is_here, "the presence to be heard")
            assert [each.id for each in two.state.leases_at(0)] == [lease["lease"]]
        await until(lambda: not two.state.leases, "what it held to be released")
        seen: list[Any] = []
        with anyio.fail_after(10):
            async for event in follower:
                seen += event.participants if isinstance(event, Here) else ()
                if seen and seen[-1].get("gone"):
                    break
        assert {each["id"] for each in seen} == {ANNA.id}


async def test_a_session_that_nobody_uses_leaves_memory(stage: Stage) -> None:
    session = await stage.create("text")
    host = stage.host(idle_seconds=0.2)
    async with host.open(session) as live, host.open(session) as same:
        assert live is same
        await insert(live, ANNA, "x")
    await until(lambda: not len(host), "the session to leave memory")
    async with host.open(session) as again:
        assert again is not live
        assert again.revision == 3


async def test_after_its_time_a_session_is_only_read(stage: Stage) -> None:
    session = await stage.create("text", seconds=1)
    live = await stage.live(session)
    await until(lambda: stage.tools.now() > live.state.created + 1, "its time to be over")
    with pytest.raises(SessionClosedError):
        await insert(live, ANNA, "x")
    assert (await live.ask({"do": "show"}, OBSERVER))["value"] == "text"
    assert (await live.ask({"do": "close"}, OWNER))["resource_url"]
