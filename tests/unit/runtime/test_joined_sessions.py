"""What a participant hears and does, over a channel that loses, repeats and ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from broker_plane.errors import GrantRevokedError, SessionError, WireError
from broker_plane.plane.sessions.channel import EntriesAdded, EventsMissed, PresenceChanged
from broker_plane.runtime.joined_session import JoinedSession, joined
from broker_plane.runtime.session_requests import SessionIdentity
from broker_plane.testing.processes import until
from tests.unit.runtime.channels import MemoryChannel

pytestmark = pytest.mark.anyio
ANNA = SessionIdentity("anna")


async def heard(session: JoinedSession, many: int, after: int = 0) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(20), aclosing(session.entries(after)) as entries:
        async for each in entries:
            found.append(each.revision)
            if len(found) == many:
                break
    return found


async def test_lost_and_repeated_entries_arrive_in_order_and_once() -> None:
    channel = MemoryChannel()
    async with joined(channel, ANNA) as session:
        second = channel.say()
        channel.put(EntriesAdded((second, second)))
        channel.say(heard=False)
        channel.say(heard=False)
        channel.say()
        channel.put(EntriesAdded((second,)))
        channel.say(heard=False)
        channel.put(EventsMissed())
        assert await heard(session, 5, after=1) == [2, 3, 4, 5, 6]


async def test_a_reader_of_the_distant_past_reads_the_log() -> None:
    channel = MemoryChannel()
    for _ in range(1_300):
        channel.say(heard=False)
    async with joined(channel, ANNA) as session:
        channel.say()
        assert await heard(session, 1_302) == list(range(1, 1_303))


async def test_the_feed_begins_where_the_participant_joined_and_ends_with_the_session() -> None:
    channel = MemoryChannel()
    channel.say(heard=False)
    async with joined(channel, ANNA) as session:
        channel.say("noted", note="n", type="question", text="Why?")
        channel.say("closed", sha256="0")
        assert [each.kind async for each in session.entries()] == ["noted", "closed"]
        assert session.status == "closed" and session.notes[0]["text"] == "Why?"


async def test_a_client_says_how_many_notes_the_session_left_out() -> None:
    channel = MemoryChannel()
    channel.greeting = {"revision": 1, "notes": [{"note": "n", "text": "new"}], "notes_left_out": 7}
    async with joined(channel, ANNA) as session:
        assert (len(session.notes), session.notes_left_out) == (1, 7)


async def test_the_end_of_the_access_is_raised_to_readers() -> None:
    channel = MemoryChannel()
    async with joined(channel, ANNA) as session:
        channel.say()
        channel.end(GrantRevokedError())
        with pytest.raises(GrantRevokedError):
            await heard(session, 2, after=1)
    assert not channel.asked("leave"), "there is nobody to say it to"


async def test_readers_do_not_wait_for_what_failed() -> None:
    channel = MemoryChannel()
    async with joined(channel, ANNA) as session:
        channel.put("no event")  # type: ignore[arg-type]
        channel.say("leased", until=None, lease="l", region=None)
        channel.put(EntriesAdded((None,)))  # type: ignore[arg-type]
        with pytest.raises(SessionError, match="cannot be followed"):
            await heard(session, 9)


async def test_participants_conflicts_and_leases_are_live() -> None:
    channel = MemoryChannel()
    async with joined(channel, ANNA) as session:
        channel.say("joined", name="bert", type="agent")
        channel.say("conflict", conflict="c1", region={"start": 0, "end": 1}, ours={}, theirs={}, status="open")
        channel.say("conflict", conflict="c2", region=None, ours={}, theirs={}, status="priority", winner="ours")
        channel.say("leased", lease="l1", region=None, until=9.0)
        channel.put(PresenceChanged(({"id": "bert-2", "at": {"cursor": 3}},)))
        await until(lambda: session.presence, "the presence of the other one")
        assert [each["name"] for each in session.participants] == ["bert"]
        assert [each["id"] for each in session.conflicts] == ["c1"]
        assert [each["participant"] for each in session.leases] == ["bert-2"]
        channel.say("decided", conflict="c1", choice="ours")
        channel.say("left")
        await until(lambda: not session.conflicts and not session.leases, "the decision and the departure")
        assert not session.participants[0]["present"]


async def test_a_request_returns_after_its_revision_is_known() -> None:
    channel = MemoryChannel()
    async with joined(channel, ANNA) as session:
        lease = await session.lease({"start": 0, "end": 1})
        assert session.revision == 2 and [each["lease"] for each in session.leases] == [lease.id]


async def test_a_change_has_an_id_that_keeps_a_retry_from_applying_twice() -> None:
    channel = MemoryChannel()
    async with joined(channel, ANNA) as session:
        await session.propose(1, "fix", None, {"text": "a"})
        await session.propose(session.revision, "fix", None, {"text": "b"})
        await session.read()
    ids = [fields["request"] for fields in channel.asked("propose")]
    assert len(set(ids)) == 2 and all(len(each) == 22 for each in ids)
    assert "request" not in channel.asked("show")[0]


async def test_a_held_lease_is_renewed_until_it_is_released() -> None:
    channel = MemoryChannel()
    async with joined(channel, ANNA) as session:
        await session.lease(None, seconds=1)
        await until(lambda: len(channel.asked("present")) > 1, "two renewals")
        await session.release("l1")
    assert [fields["lease"] for fields in channel.asked("release")] == ["l1"]


async def test_a_participant_says_that_it_is_here_where_its_connection_does_not() -> None:
    channel = MemoryChannel()
    channel.shows_presence = False
    async with joined(channel, ANNA) as session:
        await until(lambda: channel.asked("present"), "the first word")
        await session.present({"cursor": 3})
        assert channel.asked("present")[-1]["at"] == {"cursor": 3}


async def test_a_participant_leaves_also_if_its_work_fails() -> None:
    channel = MemoryChannel()
    with pytest.raises(ValueError, match="mine"):
        async with joined(channel, ANNA):
            raise ValueError("mine")
    assert channel.requests[-1]["do"] == "leave"


async def test_a_cancelled_participant_leaves() -> None:
    channel = MemoryChannel()
    inside = asyncio.Event()

    async def take_part() -> None:
        async with joined(channel, ANNA):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(take_part())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert channel.requests[-1]["do"] == "leave"


async def test_only_a_session_of_crdt_has_a_document() -> None:
    async with joined(MemoryChannel("ot"), ANNA) as session:
        with pytest.raises(WireError, match="ot"):
            session.document()


async def test_members_of_a_note_do_not_mix_with_those_of_its_author() -> None:
    channel = MemoryChannel()
    async with joined(channel, SessionIdentity("anna", "human", "review")) as session:
        await session.note("question", "Why?", region={"start": 0, "end": 0})
        await session.undo(intent="refactor")
    note, undo = channel.asked("note")[0], channel.asked("undo")[0]
    assert (note["type"], note["intent"], note["anchor"]) == ("question", "review", {"region": {"start": 0, "end": 0}})
    assert (undo["type"], undo["intent"]) == ("human", "refactor")
