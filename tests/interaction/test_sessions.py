"""Sessions through `plane.sessions`, over WebSocket and NATS, with a bridge in a process of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

import pytest

from broker_plane import Plane
from broker_plane.client.session_requests import HttpSessionRequests
from broker_plane.errors import (
    ChangeError,
    DescriptorExpiredError,
    ForbiddenError,
    GrantRevokedError,
    IntentError,
    RevisionNotFoundError,
    SessionClosedError,
    SessionNotFoundError,
    StaleBaseError,
    UntrustedHostError,
    WireError,
)
from broker_plane.runtime.joined_session import JoinedSession
from broker_plane.sync import Plane as BlockingPlane
from broker_plane.testing.processes import until
from broker_plane.wire.names import encode_id
from broker_plane.wire.yjs_updates import read_state
from tests.interaction.sessions import Room

pytestmark = pytest.mark.anyio
Via = Literal["http", "nats"]
WAYS: tuple[Via, ...] = ("http", "nats")
PALM = "\N{PALM TREE}"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Room(tmp_path_factory.mktemp("sessions"))
    yield made
    made.close()


@pytest.fixture
async def plane(room: Room) -> AsyncIterator[Plane]:
    async with Plane.connect(room.settings) as connected:
        await until(lambda: answers(connected), "the bridge")
        yield connected


async def answers(plane: Plane) -> bool:
    try:
        created = await plane.sessions.create()
        await plane.sessions.show(created)
    except Exception:  # noqa: BLE001  # it is still starting
        return False
    return True


async def revisions(session: JoinedSession, until_revision: int, after: int = 0) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(60), aclosing(session.entries(after)) as entries:
        async for entry in entries:
            found.append(entry.revision)
            if entry.revision >= until_revision:
                break
    return found


@pytest.mark.parametrize("via", WAYS)
async def test_two_participants_edit_discuss_and_finish(plane: Plane, via: Via) -> None:
    created = await plane.sessions.create("one two three", sync="patch", policy={"expected": ["anna", "bert"]})
    async with (
        plane.sessions.join(created.descriptor, name="anna", via=via) as anna,
        plane.sessions.join(created.grants["editor"], name="bert", via=via) as bert,
    ):
        view = await anna.read()
        assert (view.value, view.kind, view.sync, view.status) == ("one two three", "text", "patch", "open")
        first = await anna.propose(view, "fix", {"start": 0, "end": 3}, {"text": f"{PALM}1"}, message="a number")
        assert (first.stale, first.merged, first.conflict) == (False, False, None)
        apart = await bert.propose(view, "docs", {"start": 8, "end": 13}, "3")
        assert apart.stale and apart.merged and f"+{PALM}1" in apart.diff, "a merge is never silent"
        assert (await bert.read()).value == f"{PALM}1 two 3"
        assert (await bert.read(view.revision)).value == "one two three"
        note = await bert.note("question", "Why a number?", region={"start": 0, "end": 2})
        await anna.note("answer", "It is shorter", thread=note)
        await until(lambda: len(bert.notes) == 2, "the answer")
        assert [each["thread"] for each in bert.notes] == [note, note]
        assert {each["name"] for each in anna.participants} == {"anna", "bert"}
        assert await anna.confirm() == (["anna"], ["bert"])
        assert await bert.confirm() == (["anna", "bert"], [])
        await until(lambda: anna.status == "closed", "the end")
        with pytest.raises(SessionClosedError):
            await anna.propose(bert.revision, edit="late")
    shown = await plane.sessions.show(created.grants["observer"])
    assert (await plane.pull(shown.fields["result"]["resource_url"])).decode() == f"{PALM}1 two 3" == shown.value


@pytest.mark.parametrize("via", WAYS)
async def test_a_conflict_waits_and_is_decided(plane: Plane, via: Via) -> None:
    created = await plane.sessions.create({"port": 80}, sync="patch")
    async with (
        plane.sessions.join(created, name="anna", via=via) as anna,
        plane.sessions.join(created, name="bert", via=via) as bert,
    ):
        base = anna.revision
        await anna.propose(base, "fix", {"path": "/port"}, {"value": 8080})
        done = await bert.propose(base, "fix", {"path": "/port"}, {"value": 443})
        assert done.conflict is not None and bert.conflicts[0]["id"] == done.conflict["id"]
        await until(lambda: anna.conflicts, "the conflict")
        await anna.decide(anna.conflicts[0], "theirs")
        await until(lambda: not bert.conflicts, "the decision")
        assert (await bert.read()).value == {"port": 443}


@pytest.mark.parametrize("via", WAYS)
async def test_who_has_read_the_changes_since_a_conflict_decides_it(plane: Plane, via: Via) -> None:
    created = await plane.sessions.create("one\ntwo\n", sync="patch")
    async with plane.sessions.join(created, name="anna", via=via) as anna:
        base = anna.revision
        await anna.propose(base, "fix", {"start": 0, "end": 3}, "1")
        done = await anna.propose(base, "fix", {"start": 0, "end": 3}, "uno")
        assert done.conflict is not None
        await anna.propose(await anna.read(), "fix", {"start": 0, "end": 1}, "first")
        with pytest.raises(StaleBaseError) as refused:
            await anna.decide(done.conflict, "theirs")
        assert "+first" in refused.value.diff
        revision = await anna.decide(done.conflict, "theirs", refused.value.revision)
        assert (await anna.read()).value == "uno\ntwo\n"
        decided = next(entry for entry in await anna.log(revision - 2) if entry.kind == "decided")
        assert decided.content["replaced"]["text"] == "first"


@pytest.mark.parametrize("via", WAYS)
async def test_a_stale_base_is_answered_with_the_diff(plane: Plane, via: Via) -> None:
    created = await plane.sessions.create("a\nb\n", sync="ot")
    async with plane.sessions.join(created, name="anna", via=via) as session:
        base = session.revision
        await session.propose(base, "fix", {"start": 0, "end": 1}, "A")
        with pytest.raises(StaleBaseError) as raised:
            await session.propose(base, "fix", {"start": 2, "end": 3}, "B")
        assert raised.value.revision == session.revision and "-a\n+A" in raised.value.diff
        done = await session.propose(base, "fix", {"start": 2, "end": 3}, "B", stale="merge")
        assert (done.stale, (await session.read()).value) == (True, "A\nB\n")


@pytest.mark.parametrize("via", WAYS)
async def test_history_goes_back_and_one_intent_is_undone(plane: Plane, via: Via) -> None:
    created = await plane.sessions.create([{"id": 1, "name": "a"}], sync="patch")
    async with plane.sessions.join(created, name="anna", via=via) as session:
        before = await session.read()
        await session.propose(session.revision, "fix", {"path": "/0/name"}, {"value": "b"})
        await session.propose(session.revision, "enrich", {"path": "/-"}, {"value": {"id": 2, "name": "c"}})
        undone = await session.undo(intent="fix")
        assert session.proposals[0]["id"] == undone["proposal"]
        await session.accept(undone)
        assert (await session.read()).value == [{"id": 1, "name": "a"}, {"id": 2, "name": "c"}]
        assert not session.proposals
        with pytest.raises(ChangeError):
            await session.undo(intent="docs")
        back = await session.rollback(before.revision)
        after = await session.read(back)
        assert (after.value, after.sha256) == (before.value, before.sha256)
        with pytest.raises(RevisionNotFoundError):
            await session.rollback(10_000)


@pytest.mark.parametrize("via", WAYS)
async def test_roles_and_intents_are_enforced(plane: Plane, via: Via) -> None:
    created = await plane.sessions.create("text")
    async with plane.sessions.join(created.grants["observer"], name="eve", via=via) as eve:
        assert (await eve.read()).value == "text"
        with pytest.raises(ForbiddenError, match="observer"):
            await eve.note("comment", "hello")
        with pytest.raises(ForbiddenError, match="observer"):
            await eve.propose(eve.revision, edit="mine")
    less = plane.narrow(created.grants["editor"], intent="docs", participant="doc-bot").grant
    async with plane.sessions.join(less, name="somebody", via=via) as bot:
        assert (bot.you["name"], bot.you["intent"]) == ("doc-bot", "docs")
        with pytest.raises(IntentError):
            await bot.propose(bot.revision, "security", edit="mine")


@pytest.mark.parametrize("via", WAYS)
async def test_leases_are_seen_renewed_and_given_up(plane: Plane, via: Via) -> None:
    created = await plane.sessions.create("one two", sync="patch", policy={"leases": "block"})
    async with plane.sessions.join(created, name="bert", via=via) as bert:
        async with plane.sessions.join(created, name="anna", via=via) as anna:
            lease = await anna.lease({"start": 0, "end": 3}, seconds=1)
            await until(lambda: bert.leases, "the lease at the other one")
            # Without a renewal the broker's clock would have ended it; with one, its time is put off.
            await until(lambda: bert.leases[0]["until"] > lease.until, "the renewal")
            with pytest.raises(Exception, match="leased"):
                await bert.propose(bert.revision, edit={"text": "1"}, region={"start": 0, "end": 3})
        await until(lambda: not bert.leases, "the end of the lease")
        await bert.propose(bert.revision, edit={"text": "1"}, region={"start": 0, "end": 3})


@pytest.mark.parametrize("via", WAYS)
async def test_documents_of_two_participants_converge(plane: Plane, via: Via) -> None:
    created = await plane.sessions.create("héllo", sync="crdt")
    async with (
        plane.sessions.join(created, name="anna") as anna,
        plane.sessions.join(created, name="bert", via=via) as bert,
    ):
        mine, yours = anna.document(), bert.document()
        await mine.synchronized()
        await yours.synchronized()
        mine.splice(0, 1, f"{PALM}H")
        yours.splice(5, 5, f" {PALM}")
        await mine.synchronized()
        await yours.synchronized()
        await until(lambda: read_state(mine.get_state()) == read_state(yours.get_state()), "the same state")
        assert mine.value == yours.value == f"{PALM}Héllo {PALM}" == (await anna.read()).value
        await anna.propose(anna.revision, "write", {"start": 0, "end": 1}, {"text": ""})
        await until(lambda: yours.value == f"Héllo {PALM}", "an edit that was proposed")


async def test_nothing_is_lost_or_doubled_when_bridge_and_broker_are_killed(tmp_path: Path) -> None:
    room = Room(tmp_path)
    try:
        await room.ready()
        async with asyncio.timeout(120), Plane.connect(room.settings) as plane:
            created = await plane.sessions.create("", sync="crdt")
            async with (
                plane.sessions.join(created, name="anna", via="http") as anna,
                plane.sessions.join(created, name="bert", via="nats") as bert,
            ):
                documents = [anna.document(), bert.document()]
                for document in documents:
                    await document.synchronized()
                healed = asyncio.Event()
                writing = asyncio.gather(write(anna, "a", healed), write(bert, "b", healed))
                for restart in (room.restart_bridge, room.restart_broker):
                    await more(anna)
                    await restart()
                healed.set()
                acknowledged = [text for texts in await writing for text in texts]
                for document in documents:
                    await document.synchronized()
                await until(
                    lambda: read_state(documents[0].get_state()) == read_state(documents[1].get_state()),
                    "the same state",
                    60,
                )
                last = (await anna.read()).revision
                assert await revisions(anna, last) == await revisions(bert, last) == list(range(1, last + 1))
                kept = [entry async for entry in read_all(plane, created.grants["observer"])]
                notes = Counter(entry.content["text"] for entry in kept if entry.kind == "noted")
                assert notes == Counter(acknowledged)
                assert documents[0].value == (await bert.read()).value
                assert Counter(documents[0].value) == Counter(text[0] for text in acknowledged)
    finally:
        room.close()


async def more(session: JoinedSession) -> None:
    """Wait until some more has been done."""
    before = session.revision
    await until(lambda: session.revision > before + 10, "more work")


async def write(session: JoinedSession, name: str, healed: asyncio.Event) -> list[str]:
    """Until all is well, and once more: insert a character, and write a note, which is acknowledged."""
    done: list[str] = []
    while not healed.is_set() or len(done) < 20:
        session.document().splice(0, 0, name)
        await session.note("comment", f"{name}{len(done)}")
        await session.document().synchronized()
        done.append(f"{name}{len(done)}")
    return done


async def read_all(plane: Plane, grant: str) -> AsyncIterator[Any]:
    after = 0
    while entries := await plane.sessions.log(grant, after, 500):
        for entry in entries:
            yield entry
        after = entries[-1].revision


async def test_a_repeated_request_is_applied_once(plane: Plane) -> None:
    created = await plane.sessions.create("a", sync="patch")
    requests = HttpSessionRequests(plane.pulls.http, created.urls["editor"])
    edit = {"do": "propose", "name": "anna", "request": "r1", "base": 1, "edit": {"text": "b"}, "region": None}
    first = await requests.request(edit)
    assert await requests.request(edit) == {"revision": first["revision"], "repeated": True}
    other = await requests.request({**edit, "name": "bert", "stale": "merge"})
    assert "repeated" not in other, "an id is of its participant"
    note = {"do": "note", "name": "anna", "request": "r2", "type": "comment", "text": "hello"}
    one, two = await requests.request(note), await requests.request(note)
    assert one["note"] == two["note"]
    entries = await plane.sessions.log(created.urls["editor"])
    assert [entry.content.get("request") for entry in entries if entry.kind == "noted"] == ["r2"]


async def test_the_end_of_a_grant_reaches_those_who_listen(plane: Plane) -> None:
    created = await plane.sessions.create("text")
    with pytest.raises(GrantRevokedError):
        async with asyncio.timeout(30), plane.sessions.join(created, name="anna", via="http") as session:
            await plane.revoke(created.grants["editor"])
            async for _ in session.entries():
                pass
    with pytest.raises(GrantRevokedError):
        async with plane.sessions.join(created.grants["editor"]):
            pass


@pytest.mark.parametrize(
    ("name", "content", "kind", "value"),
    [
        ("plan.md", b"# Plan\n", "text", "# Plan\n"),
        ("plan.json", b'{"a": [1]}', "json", {"a": [1]}),
        ("plan.csv", b"id,name\n1,a\n", "table", [{"id": 1, "name": "a"}]),
        ("plan.ndjson", b'{"id": 1}\n', "table", [{"id": 1}]),
    ],
)
async def test_a_session_begins_with_a_file_or_a_body(
    plane: Plane, tmp_path: Path, name: str, content: bytes, kind: str, value: Any
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    created = await plane.sessions.create(source=path, sync="patch")
    assert (created.kind, (await plane.sessions.show(created)).value) == (kind, value)
    if kind != "table":
        published = await plane.publish(path, media_type="" if kind == "text" else "application/json")
    else:
        published = await plane.publish(value)
    created = await plane.sessions.create(source=published.resource_url, sync="patch")
    assert (created.kind, (await plane.sessions.show(created)).value) == (kind, value)


async def test_wrong_arguments_are_named(plane: Plane, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    created = await plane.sessions.create("text")
    wrong: list[tuple[Any, type[Exception], str]] = [
        (lambda: plane.sessions.create("a", source="b"), WireError, "not both"),
        (lambda: plane.sessions.create(kind="page"), WireError, "kind must be"),  # type: ignore[arg-type]
        (lambda: plane.sessions.create(sync="git"), WireError, "sync is"),  # type: ignore[arg-type]
        (lambda: plane.sessions.create(3, kind="text"), WireError, "must be a str"),
        (lambda: plane.sessions.create([1], kind="table"), WireError, "list of objects"),
        (lambda: plane.sessions.create(policy={"colour": "red"}), WireError, "colour"),
        (lambda: plane.sessions.create(source=tmp_path / "picture.png"), WireError, "not a text"),
        (lambda: plane.sessions.show("nonsense"), WireError, "no grant"),
        (
            lambda: plane.sessions.show(created.descriptor | {"expires": "2001-01-01T00:00:00Z"}),
            DescriptorExpiredError,
            "expired",
        ),
        (lambda: plane.sessions.show(encode_id(bytes(16))), SessionNotFoundError, "no such session"),
        (
            lambda: plane.sessions.show(f"http://far.example/v1/sessions/{created.grants['editor']}"),
            UntrustedHostError,
            "far",
        ),
        (lambda: plane.sessions.rollback(created.grants["editor"], 99), RevisionNotFoundError, "99"),
    ]
    for asked, kind, said in wrong:
        with pytest.raises(kind, match=said):
            await asked()


async def test_a_closed_session_is_a_body_and_closing_again_says_so(plane: Plane) -> None:
    created = await plane.sessions.create({"a": 1})
    first = await plane.sessions.close(created.grants["editor"], "enough")
    assert await plane.pull(first["resource_url"]) == b'{"a":1}'
    again = await plane.sessions.close(created.session_id)
    assert (again["sha256"], again["revision"]) == (first["sha256"], first["revision"])
    last = (await plane.sessions.log(created, 1))[-1]
    assert (last.kind, last.participant, last.content["reason"]) == ("closed", "owner", "enough")


async def test_another_grant_has_a_name_of_its_own(plane: Plane) -> None:
    created = await plane.sessions.create("text")
    grant = await plane.sessions.grant(created.session_id, "reviewer", ttl="10m", participant="carla")
    async with plane.sessions.join(grant, name="eve") as session:
        assert (session.you["name"], session.you["role"]) == ("carla", "reviewer")


def test_the_synchronous_plane_has_sessions_as_well(room: Room) -> None:
    with BlockingPlane.connect(room.settings) as plane:
        created = plane.sessions.create("one", sync="patch")
        with plane.sessions.join(created.descriptor, name="anna") as session:
            done = session.propose(session.read(), "fix", None, {"text": "two"})
            assert (session.read().value, session.participants[0]["name"]) == ("two", "anna")
            for entry in session.entries(done.revision - 1):
                assert entry.kind == "operation"
                break
            with pytest.raises(WireError):
                session.document()
        assert plane.sessions.show(created).value == "two"
        assert plane.sessions.close(created.session_id)["resource_url"]
