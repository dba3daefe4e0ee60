"""Writes of several processes, with and without answers: the log is what all of them have."""

from __future__ import annotations

import asyncio
import random
from base64 import b64encode
from typing import Any

import pytest

from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    ConflictError,
    StoreFullError,
)
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import Participant
from broker_plane.storage.sessions import NatsSessionLog
from broker_plane.testing.processes import until
from tests.contract.sessions import ANNA, BEN, Stage, YjsClient, insert, state_vector

pytestmark = pytest.mark.anyio


async def test_documents_of_yjs_agree_in_all_processes_and_with_the_log(stage: Stage) -> None:
    session = await stage.create("é🌴", sync="crdt", limits={"operations_per_second": 10_000})
    lives = [await stage.live(session) for _ in range(3)]

    async def edit(live: LiveSession, who: Participant, letter: str) -> None:
        client = YjsClient()
        async with live.settled() as folded:
            client.synchronize(folded.replica.pack())
        for number in range(20):
            update = b64encode(client.type(letter)).decode()
            answer = await live.ask({"do": "update", "change": update}, who)
            if number % 7 == 0:
                edit = {"do": "propose", "base": answer["revision"], "region": {"start": 0, "end": 0}, "edit": "🌵"}
                await live.ask(edit | {"stale": "merge"}, who)

    writers = [edit(live, who, letter) for live in lives for who, letter in ((ANNA, "a"), (BEN, "b"))]
    await asyncio.gather(*writers)
    entries = await stage.entries(session)
    replayed = Folded.of(entries)
    await until(lambda: {live.revision for live in lives} == {entries[-1].revision}, "all to have read the log")
    for live in lives:
        async with live.settled() as folded:
            assert folded.value == replayed.value
            assert folded.state == replayed.state
            assert state_vector(folded.replica.pack()) == state_vector(replayed.replica.pack())
    assert sorted(replayed.value) == sorted("é🌴" + "a" * 60 + "b" * 60 + "🌵" * 18)


async def test_a_document_never_shows_a_change_that_was_not_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await stage.create("text", sync="crdt")
    live = await stage.live(session)
    client = YjsClient()
    async with live.settled() as folded:
        client.synchronize(folded.replica.pack())

    async def full(*_: Any) -> Any:
        raise StoreFullError("The store is full")

    with monkeypatch.context() as patch:
        patch.setattr(NatsSessionLog, "append", full)
        with pytest.raises(StoreFullError):
            await live.ask({"do": "update", "change": b64encode(client.type("lost ")).decode()}, ANNA)
    async with live.settled() as folded:
        assert folded.value == "text"
    shown = await live.ask({"do": "propose", "base": 1, "region": {"start": 4, "end": 4}, "edit": "!"}, BEN)
    assert (await live.ask({"do": "show"}, BEN))["value"] == "text!"
    assert shown["revision"] == 3


async def test_a_write_whose_answer_is_lost_is_found_in_the_log(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await stage.create("text")
    live = await stage.live(session)
    append = NatsSessionLog.append
    lost: list[Any] = []

    async def silent(log: NatsSessionLog, *arguments: Any) -> Any:
        found = await append(log, *arguments)
        if not lost:
            lost.append(found)
            raise BrokerUnavailableError("The broker does not answer")
        return found

    monkeypatch.setattr(NatsSessionLog, "append", silent)
    assert await insert(live, ANNA, "once ") == 3
    assert lost
    async with live.settled() as folded:
        assert folded.value == "once text"
    assert await insert(live, ANNA, "twice ") == 4


@pytest.mark.parametrize("sync", ["crdt", "ot", "patch"])
async def test_whatever_answers_are_lost_the_log_is_what_all_processes_have(
    stage: Stage, sync: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(sync)
    append = NatsSessionLog.append

    async def unreliable(log: NatsSessionLog, *arguments: Any) -> Any:
        fate = dice.random()
        if fate < 0.15:
            raise BrokerUnavailableError("The broker does not answer")
        found = await append(log, *arguments)
        if fate < 0.3:
            raise BrokerUnavailableError("The broker does not answer")
        return found

    monkeypatch.setattr(NatsSessionLog, "append", unreliable)
    session = await stage.create("seed ", sync=sync, limits={"operations_per_second": 10_000})
    lives = [await stage.live(session) for _ in range(2)]
    acknowledged: dict[int, str] = {}

    async def act(live: LiveSession, who: Participant) -> None:
        for number in range(25):
            token = f"{who.name}-{lives.index(live)}-{number}. "
            choice = dice.random()
            if choice < 0.4 and sync == "crdt":
                client = YjsClient()
                async with live.settled() as folded:
                    client.synchronize(folded.replica.pack())
                update = {"do": "update", "change": b64encode(client.type(token)).decode()}
                acknowledged[(await live.ask(update, who))["revision"]] = token
            elif choice < 0.6:
                at = {"start": 0, "end": 0}
                propose = {"do": "propose", "base": live.revision, "region": at, "edit": token, "stale": "merge"}
                answer = await live.ask(propose, who)
                if not answer.get("conflict"):
                    acknowledged[answer["revision"]] = token
            elif choice < 0.7:
                await live.ask({"do": "note", "type": "comment", "text": token}, who)
            elif choice < 0.85:
                await live.ask({"do": "present", "state": {"token": token}}, who)
            else:
                with pytest.raises(BrokerPlaneError):
                    await live.ask({"do": "update", "base": 1, "change": "AAEC"}, who)

    await asyncio.gather(*[act(live, who) for live in lives for who in (ANNA, BEN)])
    entries = await stage.entries(session)
    replayed = Folded.of(entries)
    await until(lambda: {live.revision for live in lives} == {entries[-1].revision}, "all to have read the log")
    for live in lives:
        async with live.settled() as folded:
            assert (folded.value, folded.state) == (replayed.value, replayed.state)
    assert all(entries[revision - 1].kind == "operation" for revision in acknowledged)
    for token in acknowledged.values():
        assert replayed.value.count(token) == 1


async def test_a_refused_write_takes_back_nothing_that_others_have_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await stage.create("")
    one, two = await stage.live(session), await stage.live(session)
    await one.ask({"do": "present"}, ANNA)
    revision = await insert(two, BEN, "b")
    await until(lambda: one.revision == revision, "the edit to be heard")
    append, refused = NatsSessionLog.append, 0

    async def refusing(log: NatsSessionLog, *arguments: Any) -> Any:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise ConflictError("Another writer was faster")
        return await append(log, *arguments)

    monkeypatch.setattr(NatsSessionLog, "append", refusing)
    assert await insert(one, ANNA, "a") == revision + 2
    async with one.settled() as folded:
        assert folded.value == "ab"
        assert folded.state == Folded.of(await stage.entries(session)).state


async def test_edits_of_json_that_overlap_become_a_conflict_and_others_merge(stage: Stage) -> None:
    session = await stage.create({"a": 1, "b": 2}, kind="json", sync="patch")
    one, two = await stage.live(session), await stage.live(session)
    propose = {"do": "propose", "base": 1}
    answers = await asyncio.gather(
        one.ask(propose | {"region": {"path": "/a"}, "edit": {"value": 10}}, ANNA),
        two.ask(propose | {"region": {"path": "/b"}, "edit": {"value": 20}}, BEN),
        two.ask(propose | {"region": {"path": "/a"}, "edit": {"value": 30}}, BEN),
    )
    assert sum(bool(answer.get("conflict")) for answer in answers) == 1
    await until(lambda: one.revision == two.revision, "both to have read the log")
    shown = await one.ask({"do": "show"}, ANNA)
    assert shown["value"]["b"] == 20
    (conflict,) = shown["conflicts"]
    assert {conflict["ours"]["value"], conflict["theirs"]["value"]} == {10, 30}


async def test_a_large_artifact_is_stored_read_and_rolled_back(stage: Stage) -> None:
    text = "x" * 1_500_000
    session = await stage.create(text, sync="patch")
    one, two = await stage.live(session), await stage.live(session)
    edit = {"do": "propose", "base": 1, "region": {"start": 0, "end": 1}, "edit": "y" * 200_000}
    done = await one.ask(edit, ANNA)
    await until(lambda: two.revision == done["revision"], "the other process to read it")
    back = await two.ask({"do": "rollback", "to": 1}, BEN)
    shown = await two.ask({"do": "show", "revision": 1}, BEN)
    assert back["sha256"] == shown["sha256"] == (await two.ask({"do": "show"}, BEN))["sha256"]
    assert shown["value"] == text
