"""Sessions over WebSockets of JSON messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from broker_plane import Plane
from broker_plane.testing.processes import until
from tests.bridge.sessions import JsonClient, Session, Sessions, anyio_backend, closed, sessions

pytestmark = pytest.mark.anyio
__all__ = ["anyio_backend", "sessions"]


@pytest.fixture
async def draft(sessions: Sessions) -> Session:
    return await sessions.create("Hello\n", sync="patch")


async def test_a_socket_greets_then_tells_what_everybody_does(draft: Session) -> None:
    anna, ben = await draft.grant(participant="anna"), await draft.grant("reviewer", participant="ben")
    async with draft.socket(anna) as first, draft.socket(ben) as second:
        assert first.subprotocol == "broker-plane.session.v1"
        writer, reader = JsonClient(first), JsonClient(second)
        hello = await writer.event("hello")
        assert (hello["value"], hello["you"]["name"], hello["you"]["role"]) == ("Hello\n", "anna", "editor")
        assert "ben" in {each["name"] for each in (await reader.event("hello"))["participants"]}
        done = await writer.ok(do="propose", base=1, edit="Hello, all\n")
        entry = (await reader.entries_until(done["revision"]))[-1]
        assert (entry["kind"], entry["role"], entry["participant"]) == ("operation", "editor", hello["you"]["id"])
        noted = await reader.ok(do="note", type="comment", text="Better.")
        assert (await writer.entries_until(noted["revision"]))[-1]["content"]["text"] == "Better."


async def test_an_entry_is_told_once_also_to_who_joins_in_the_middle(draft: Session) -> None:
    grant = await draft.grant()
    async with draft.socket(grant, "?name=writer") as writing:
        writer = JsonClient(writing)
        await writer.event("hello")
        asking = [
            asyncio.create_task(
                writing.send(json.dumps({"do": "note", "type": "comment", "text": str(n), "id": f"n{n}"}))
            )
            for n in range(40)
        ]
        async with draft.socket(grant, "?name=reader&value=0") as reading:
            reader = JsonClient(reading)
            hello = await reader.event("hello")
            assert "value" not in hello
            last = (await writer.ok(do="note", type="comment", text="last"))["revision"]
            told = [each["revision"] for each in await reader.entries_until(last)]
            assert told == list(range(hello["revision"] + 1, last + 1))
        await asyncio.gather(*asking)


async def test_a_client_that_reconnects_gets_what_it_missed(draft: Session, client: httpx2.AsyncClient) -> None:
    grant = await draft.grant()
    for number in range(7):
        await draft.ask(client, grant, do="note", type="comment", text=str(number))
    async with draft.socket(grant, "?after=3") as socket:
        reader = JsonClient(socket)
        revision = (await reader.event("hello"))["revision"]
        entries = await reader.entries_until(revision)
        assert [each["revision"] for each in entries] == list(range(4, revision + 1))


async def said_of_anna(watcher: JsonClient, fits: Callable[[Any], bool]) -> Any:
    """The first presence of anna that fits; others are told of in between."""
    while True:
        for told in await watcher.event("presence"):
            if told["id"].startswith("anna-") and fits(told):
                return told


async def test_presence_is_told_and_ends_with_the_connection(draft: Session) -> None:
    async with draft.socket(await draft.grant(participant="ben")) as watching:
        watcher = JsonClient(watching)
        await watcher.event("hello")
        async with draft.socket(await draft.grant(participant="anna")) as socket:
            anna = JsonClient(socket)
            await anna.event("hello")
            await anna.ok(do="present", at={"region": {"start": 0, "end": 5}}, state={"typing": True})
            told = await said_of_anna(watcher, lambda told: bool(told["state"]))
            assert (told["at"], told["state"]) == ({"region": {"start": 0, "end": 5}}, {"typing": True})
        await said_of_anna(watcher, lambda told: bool(told.get("gone")))


async def test_requests_are_answered_with_their_id_and_errors_leave_the_socket_open(draft: Session) -> None:
    async with draft.socket(await draft.grant("observer")) as socket:
        observer = JsonClient(socket)
        await observer.event("hello")
        assert (await observer.ask(do="propose", base=1, edit="x"))["error"]["code"] == "forbidden"
        assert (await observer.ask(do="paint"))["error"]["code"] == "bad_request"
        for raw in ("{", "[]", b"\x00"):
            await socket.send(raw)
            answer = await observer.event("error")
            assert answer["code"] == "bad_request"
        assert (await observer.ok(do="show"))["value"] == "Hello\n"


async def test_a_stale_base_has_the_diff(draft: Session) -> None:
    async with draft.socket(await draft.grant()) as socket:
        editor = JsonClient(socket)
        await editor.ok(do="propose", base=1, edit="Bye\n")
        error = (await editor.ask(do="propose", base=1, edit="Hi\n", stale="report"))["error"]
        assert (error["code"], "Bye" in error["diff"], error["revision"] > 1) == ("stale_base", True, True)


@pytest.mark.parametrize("binary", [False, True])
async def test_a_revoked_grant_closes_its_sockets(draft: Session, sessions: Sessions, binary: bool) -> None:
    if binary:
        draft = await sessions.create("Hello\n")
    grant, other = await draft.grant(), await draft.grant()
    opened = draft.yjs_socket if binary else draft.socket
    async with opened(grant) as socket, draft.socket(other) as staying:
        stayer = JsonClient(staying)
        await socket.recv()
        await sessions.plane.revoke(grant)
        assert await closed(socket) == (4410, "grant_revoked")
        assert (await stayer.ok(do="show"))["value"] == "Hello\n"


async def test_an_expired_grant_closes_its_sockets(draft: Session, sessions: Sessions) -> None:
    crdt = await sessions.create("Hello\n")
    grants = [await each.grant(seconds=2) for each in (draft, crdt)]
    async with draft.socket(grants[0]) as socket, crdt.yjs_socket(grants[1]) as yjs_socket:
        assert await closed(socket) == await closed(yjs_socket) == (4410, "grant_expired")


async def test_the_end_of_a_grant_is_said_before_the_socket_closes(draft: Session, sessions: Sessions) -> None:
    grant = await draft.grant()
    async with draft.socket(grant) as socket:
        reader = JsonClient(socket)
        await reader.event("hello")
        await sessions.plane.revoke(grant)
        assert (await reader.event("end"))["code"] == "grant_revoked"


@pytest.mark.parametrize(
    ("query", "status"),
    [("?name=a%20b", 400), ("?type=robot", 400), ("?after=x", 400), ("?intent=conquer", 403), ("?nam=x", 400)],
)
async def test_who_is_refused_gets_the_answer_of_http(draft: Session, query: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with draft.socket(await draft.grant(), query):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["status"] == status


async def test_a_bridge_that_stops_sends_its_clients_to_another_one(draft: Session, sessions: Sessions) -> None:
    async with Plane.connect(sessions.plane.settings) as other:
        moved = Session(draft.id, draft.wiring, other.bridge_url)
        socket = await moved.socket(await draft.grant()).__aenter__()
        await JsonClient(socket).event("hello")
    assert (await closed(socket))[0] == 1012


async def test_a_slow_reader_is_told_to_read_the_log_and_is_not_buffered_without_bound(
    draft: Session, client: httpx2.AsyncClient
) -> None:
    grant = await draft.grant()
    slow = await draft.slow_socket(grant, "?name=slow&value=0")
    revision = 1
    for number in range(40):
        answer = await draft.ask(client, grant, do="propose", base=revision, edit=f"{number % 10}" * 100_000)
        revision = answer.json()["revision"]
    slow.transport.resume_reading()
    reader, seen = JsonClient(slow), 0
    while "resync" not in (message := await reader.receive()):
        seen += len(message.get("entries", ()))
    assert seen < 40
    assert message["resync"]["revision"] == revision == (await reader.ok(do="show"))["revision"]
    await slow.close()


async def test_a_participant_may_have_several_sockets(draft: Session) -> None:
    grant = await draft.grant(participant="anna")
    async with draft.socket(grant) as first:
        one = JsonClient(first)
        await one.event("hello")
        async with draft.socket(grant) as second:
            two = JsonClient(second)
            ids = {(await two.event("hello"))["you"]["id"], (await one.ok(do="show"))["you"]["id"]}
            assert len(ids) == 1

        async def here() -> bool:
            people = (await one.ok(do="show"))["participants"]
            return [each["name"] for each in people if each["present"]] == ["anna"]

        await until(here, "one participant")
