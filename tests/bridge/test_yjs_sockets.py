"""Sessions over WebSockets of y-protocols messages: what is told, what is refused, and what a refusal leads to."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode

import httpx2
import pytest
from pycrdt import Doc, Text, YMessageType, create_sync_message
from websockets.exceptions import InvalidStatus

from broker_plane.bridge.yjs_awareness import ClientState, write_awareness
from broker_plane.bridge.yjs_messages import awareness_message
from broker_plane.testing.processes import until
from tests.bridge.sessions import JsonClient, Session, Sessions, anyio_backend, closed, sessions
from tests.bridge.yjs import YjsPeer, step_2, update_message

pytestmark = pytest.mark.anyio
__all__ = ["anyio_backend", "sessions"]
GARBAGE = b"\x01\xff\xff\xff"


@pytest.fixture
async def draft(sessions: Sessions) -> Session:
    return await sessions.create("Hello")


@pytest.mark.parametrize("sync", ["patch", "ot"])
async def test_only_sessions_of_crdt_can_be_joined(sessions: Sessions, sync: str) -> None:
    session = await sessions.create("Hello", sync=sync)  # type: ignore[arg-type]
    with pytest.raises(InvalidStatus) as refused:
        async with session.yjs_socket(await session.grant()):
            pass
    assert refused.value.response.status_code == 409
    assert "crdt only" in json.loads(refused.value.response.body)["detail"]


async def test_an_update_is_told_to_everybody_its_sender_included_and_is_on_the_log(draft: Session) -> None:
    grant = await draft.grant(participant="anna")
    async with draft.yjs_socket(grant) as first, draft.yjs_socket(await draft.grant("observer")) as second:
        anna, otto = YjsPeer(first), YjsPeer(second)
        await anna.synchronize()
        await otto.synchronize()
        await first.send(anna.insert("🌴 "))
        await otto.until("🌴 Hello")
        while not anna.updates:
            await anna.receive()
        async with draft.socket(grant, "?after=0") as socket:
            told = JsonClient(socket)
            revision = (await told.event("hello"))["revision"]
            (entry,) = [each for each in await told.entries_until(revision) if each["kind"] == "operation"]
            assert (entry["participant"].partition("-")[0], entry["role"]) == ("anna", "editor")


async def test_updates_of_one_socket_keep_their_order(draft: Session, client: httpx2.AsyncClient) -> None:
    grant = await draft.grant()
    async with draft.yjs_socket(grant, "?name=fast") as socket, draft.yjs_socket(grant, "?name=other") as watching:
        fast, other = YjsPeer(socket), YjsPeer(watching)
        await fast.synchronize()
        await other.synchronize()
        for number in range(150):
            await socket.send(fast.insert(f"{number} "))
        await other.until(str(fast.text))
        assert (await draft.ask(client, grant, do="show")).json()["value"] == str(fast.text)


async def test_a_reconnected_client_adds_nothing_that_the_log_has(draft: Session, client: httpx2.AsyncClient) -> None:
    grant = await draft.grant(participant="anna")

    async def operations() -> int:
        entries = (await draft.ask(client, grant, do="log", limit=500)).json()["entries"]
        return sum(each["kind"] == "operation" for each in entries)

    async def value_is(text: str) -> bool:
        return bool((await draft.ask(client, grant, do="show")).json()["value"] == text)

    async with draft.yjs_socket(grant) as socket:
        anna = YjsPeer(socket)
        await anna.synchronize()
        await socket.send(anna.insert("Oh. "))
        del anna.text[0:2]
        await socket.send(update_message(anna.doc.get_update()))
        await until(lambda: value_is(". Hello"), "the edits")
    before = await operations()
    async with draft.yjs_socket(grant) as socket:
        anna.connection = socket
        await anna.synchronize()
        await socket.send(anna.insert("!"))
        await until(lambda: value_is("!. Hello"), "the last edit")
    assert await operations() == before + 1


async def test_what_was_edited_offline_arrives_with_the_next_connection(draft: Session) -> None:
    grant = await draft.grant()
    async with draft.yjs_socket(grant, "?name=anna") as socket:
        anna = YjsPeer(socket)
        await anna.synchronize()
    first = anna.insert("offline ")
    async with draft.yjs_socket(grant, "?name=anna") as socket, draft.yjs_socket(grant, "?name=ben") as watching:
        # It types on before the bridge has asked for what it lacks: this update depends on what is not there yet.
        del first
        anna.connection = socket
        await socket.send(anna.insert("and online "))
        await anna.synchronize()
        ben = YjsPeer(watching)
        await ben.synchronize()
        await ben.until("and online offline Hello")


async def test_an_update_that_depends_on_unknown_ones_is_answered_with_a_request_for_all(draft: Session) -> None:
    grant = await draft.grant()
    async with draft.yjs_socket(grant, "?name=tab") as socket, draft.yjs_socket(grant, "?name=ben") as watching:
        tab, ben = YjsPeer(socket), YjsPeer(watching)
        await tab.synchronize()
        await ben.synchronize()
        tab.insert("from another tab ")  # known here through the browser, and not sent
        await socket.send(tab.insert("and "))
        await asyncio.gather(tab.until_requested(2), ben.until("and from another tab Hello"))


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (update_message(GARBAGE), 4422, "bad_change"),
        (step_2(GARBAGE), 4422, "bad_change"),
        (b"\x00\x00\x02\xff\xff", 4400, "bad_request"),
        (b"\x07", 4400, "bad_request"),
        (b"", 4400, "bad_request"),
        ("text", 4400, "bad_request"),
        (b"\x00\x02\xff\xff\xff\x7f", 4400, "bad_request"),
        (b"\x01\x05\x01\x01\x01\x01{", 4400, "bad_request"),
    ],
)
async def test_a_message_that_does_not_decode_closes_the_socket(
    draft: Session, client: httpx2.AsyncClient, message: bytes | str, code: int, reason: str
) -> None:
    grant = await draft.grant()
    async with draft.yjs_socket(grant) as socket:
        peer = YjsPeer(socket)
        await peer.synchronize()
        await socket.send(message)
        async with asyncio.timeout(20):
            assert await closed_answering(peer) == (code, reason)
    assert (await draft.ask(client, grant, do="show")).json()["value"] == "Hello"


async def closed_answering(peer: YjsPeer) -> tuple[int, str]:
    """As `closed`, for a client that answers sync step 1 until then: with what it cannot get rid of."""
    while True:
        try:
            raw = await peer.receive()
        except Exception:  # noqa: BLE001  # `closed` says what it was
            return await closed(peer.connection)
        if raw.startswith(b"\x00\x00"):
            await peer.connection.send(step_2(GARBAGE))


@pytest.mark.parametrize(
    ("limits", "text", "expected"),
    [
        ({"change_bytes": 2_000}, "x" * 3_000, (4413, "too_large")),
        ({"document_bytes": 3_000}, "x" * 4_000, (4413, "too_large")),
    ],
)
async def test_an_update_above_a_limit_closes_the_socket_for_good(
    sessions: Sessions, client: httpx2.AsyncClient, limits: dict[str, int], text: str, expected: tuple[int, str]
) -> None:
    session = await sessions.create("Hello", limits=limits)
    grant = await session.grant()
    async with session.yjs_socket(grant) as socket:
        peer = YjsPeer(socket)
        await peer.synchronize()
        await socket.send(peer.insert(text))
        assert await closed(socket) == expected
    assert (await session.ask(client, grant, do="show")).json()["value"] == "Hello"


async def test_too_many_updates_a_second_close_the_socket_for_a_while_and_none_is_lost(sessions: Sessions) -> None:
    session = await sessions.create("", limits={"operations_per_second": 5})
    grant = await session.grant()
    peer, codes = None, []
    for _ in range(3):
        async with session.yjs_socket(grant, "?name=fast") as socket:
            if peer is None:
                peer = YjsPeer(socket)
            peer.connection = socket
            await peer.synchronize()
            for _ in range(40):
                await socket.send(peer.insert("x"))
                await asyncio.sleep(0)
                seen = peer.updates
                try:
                    while peer.updates == seen:
                        await peer.receive()
                except Exception:  # noqa: BLE001  # it is closed
                    codes.append(await closed(socket))
                    break
        if codes:
            break
    assert codes == [(1013, "rate_limited")] and peer is not None
    async with session.yjs_socket(grant, "?name=slow") as socket:
        peer.connection = socket
        await peer.synchronize()
        watching = YjsPeer(socket)
        while str(watching.text) != str(peer.text):
            await asyncio.sleep(0.05)
            await watching.synchronize()


async def test_a_closed_session_can_be_read_and_not_edited(sessions: Sessions, client: httpx2.AsyncClient) -> None:
    session = await sessions.create("Final", expected=["anna"])
    grant = await session.grant(participant="anna")
    async with session.yjs_socket(grant) as socket:
        anna = YjsPeer(socket)
        await anna.synchronize()
        confirmed = await session.ask(client, grant, do="confirm")
        assert confirmed.json()["missing"] == [], confirmed.text
        async with session.yjs_socket(await session.grant("observer")) as reading:
            reader = YjsPeer(reading)
            await reader.synchronize()
            assert str(reader.text) == "Final"
        await socket.send(anna.insert("Not "))
        assert await closed(socket) == (4409, "session_closed")


async def test_who_is_refused_again_is_told_of_changes_but_closed_later(draft: Session) -> None:
    bad, good = await draft.grant(participant="mallory"), await draft.grant(participant="anna")
    async with draft.yjs_socket(bad) as socket:
        peer = YjsPeer(socket)
        await peer.synchronize()
        await socket.send("text")
        assert (await closed(socket))[0] == 4400
    async with draft.yjs_socket(bad) as socket, draft.yjs_socket(good) as writing:
        peer, anna = YjsPeer(socket), YjsPeer(writing)
        await peer.synchronize()
        await anna.synchronize()
        await socket.send("text")
        await socket.send(peer.insert("not heard "))
        await writing.send(anna.insert("heard "))
        while not peer.updates:
            await peer.receive()
        assert (await closed(socket))[0] == 4400
        assert str(anna.text) == "heard Hello"


async def test_a_client_id_that_somebody_shows_is_not_used_by_others(
    draft: Session, client: httpx2.AsyncClient
) -> None:
    """Neither through a socket nor otherwise, also before its owner has written anything."""
    mine, other = await draft.grant(participant="anna"), await draft.grant(participant="eve")
    watching = await draft.grant("observer")
    async with draft.yjs_socket(mine) as one, draft.yjs_socket(other) as two, draft.yjs_socket(watching) as three:
        anna, eve, seeing = YjsPeer(one), YjsPeer(two), YjsPeer(three)
        for peer in (anna, eve, seeing):
            await peer.synchronize()
        state = ClientState(anna.doc.client_id, 1, {"user": "anna"})
        await one.send(awareness_message(write_awareness([state])))
        while (await seeing.receive())[0] != YMessageType.AWARENESS:
            pass
        forged: Doc[Text] = Doc(client_id=anna.doc.client_id)
        forged.apply_update(eve.doc.get_update())
        before = forged.get_state()
        forged.get("artifact", type=Text).insert(0, "FORGED ")
        update = forged.get_update(before)
        await two.send(update_message(update))
        assert await closed(two) == (4403, "forbidden")
        asked = await draft.ask(client, other, do="update", change=b64encode(update).decode())
        assert asked.json()["code"] == "forbidden"
        await one.send(anna.insert("Oh. "))
        await seeing.until("Oh. Hello")


async def test_requests_for_the_whole_document_are_counted_also_those_of_observers(sessions: Sessions) -> None:
    session = await sessions.create("Hello", limits={"operations_per_second": 1})
    async with session.yjs_socket(await session.grant("observer")) as socket:
        peer = YjsPeer(socket)
        for _ in range(9):
            await socket.send(create_sync_message(peer.doc))
        assert await closed(socket) == (1013, "rate_limited")


async def test_a_slow_reader_is_closed_to_synchronize_again(draft: Session) -> None:
    grant = await draft.grant()
    slow = await draft.slow_socket(grant, "?name=slow", yjs=True)
    async with draft.yjs_socket(grant, "?name=fast") as socket:
        fast = YjsPeer(socket)
        await fast.synchronize()
        for number in range(120):
            told = fast.updates
            await socket.send(fast.insert(f"{number % 10}" * 30_000))
            while fast.updates == told:
                await fast.receive()
            del fast.text[0:30_000]
            await socket.send(update_message(fast.doc.get_update()))
        slow.transport.resume_reading()
        assert await closed(slow) == (1013, "slow_reader")


async def test_a_document_with_history_reaches_a_new_client_whole(draft: Session) -> None:
    grant = await draft.grant()
    doc: Doc[Text] = Doc()
    async with draft.yjs_socket(grant, "?name=one") as socket:
        one = YjsPeer(socket)
        await one.synchronize()
        for number in range(30):
            await socket.send(one.insert(f"{number} 🌴 "))
        while one.updates == 0 or str(one.text) != str(doc.get("artifact", type=Text)):
            await one.receive()
            async with draft.yjs_socket(grant, "?name=two") as other:
                two = YjsPeer(other)
                await two.synchronize()
                doc = two.doc
    assert len(str(one.text)) > 100
