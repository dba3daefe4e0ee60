"""State is a fold of the log: replaying it from nothing, or from a snapshot, gives the same session."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from time import process_time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.errors import BrokerPlaneError, SessionError, WireError
from broker_plane.sessions.canonical import sha256
from broker_plane.sessions.closing import closed, reverted
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import STATE_FORMAT, Folded, pack_state, unpack_state
from broker_plane.sessions.participants import OWNER, Participant
from broker_plane.sessions.replicas.port import ArtifactKind, Sync
from tests.examples import examples
from tests.unit.sessions.rooms import ANNA, BOB, NOW, OBSERVER, REVIEWER, Room, participant

PEOPLE = (ANNA, BOB, participant("zoe", intent="fix"), REVIEWER, OBSERVER, OWNER)
PAIRS: tuple[tuple[ArtifactKind, Sync], ...] = (
    ("text", "patch"),
    ("text", "ot"),
    ("text", "crdt"),
    ("json", "patch"),
    ("json", "crdt"),
    ("table", "patch"),
    ("table", "crdt"),
)
VALUES: dict[ArtifactKind, Any] = {
    "text": "one two\nthree",
    "json": {"title": "palms", "parts": ["a", {"b": 1}, "c"], "count": 3},
    "table": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": None}],
}
PATHS: dict[ArtifactKind, tuple[str, ...]] = {
    "text": ("",),
    "json": ("/title", "/parts", "/parts/0", "/parts/1", "/parts/1/b", "/parts/2", "/parts/-", "/new", "/count"),
    "table": ("/0", "/1", "/1/name", "/2", "/0/id", "/2/more", "/-"),
}

DOES = (
    *("propose", "propose", "propose", "note", "lease", "release", "present", "join", "leave", "confirm"),
    *("rollback", "undo", "accept", "decide", "revert"),
)

_TEXTS = st.text(st.sampled_from("ab \n🌴é"), max_size=6)
_STEPS = st.tuples(
    st.sampled_from(PEOPLE),
    st.sampled_from(DOES),
    st.integers(0, 40),
    st.integers(0, 12),
    st.integers(0, 12),
    _TEXTS,
)


def region_and_edit(kind: ArtifactKind, number: int, start: int, end: int, text: str) -> tuple[Any, Any]:
    if kind == "text":
        return {"start": min(start, end), "end": max(start, end)}, text
    region = {"path": PATHS[kind][start % len(PATHS[kind])]}
    is_row = kind == "table" and region["path"].count("/") == 1
    value: Any = {"id": end, "name": text} if is_row else (text, end, None, [text], {"b": text})[end % 5]
    return region, None if number % 7 == 6 else {"value": value}


def members_of(room: Room, do: str, number: int, start: int, end: int, text: str) -> dict[str, Any]:
    """Members of a request that may or may not fit."""
    state = room.folded.state
    region, edit = region_and_edit(state.kind, number, start, end, text)
    match do:
        case "note":
            anchor = {"anchor": {"region": region}} if number % 2 else {}
            return {"type": "comment", "text": text or "x", "base": 1 + number % room.revision, **anchor}
        case "propose":
            base = max(1, room.revision - number % 4)
            return {"base": base, "edit": edit, "region": region, "stale": "merge" if number % 3 else "report"}
        case "lease":
            return {"region": region, "seconds": 1 + number}
        case "release":
            return {"lease": next(iter(state.leases), "none")}
        case "rollback":
            return {"to": 1 + number % room.revision}
        case "undo":
            return {"participant": PEOPLE[number % len(PEOPLE)].name} if number % 2 else {"intent": "write"}
        case "accept":
            return {"proposal": next(iter(state.proposals), "none")}
        case "decide":
            choice: Any = ("ours", "theirs", {"edit": edit})[number % 3]
            return {"conflict": next(iter(state.conflicts), "none"), "choice": choice}
    return {}


def play(room: Room, steps: list[tuple[Participant, str, int, int, int, str]]) -> None:
    for who, do, number, start, end, text in steps:
        if do == "revert":
            if room.log[-1].kind == "operation":
                before = Folded.of(room.log[:-1]).value
                room.store(reverted(room.folded, before, "spelling", text, now=room.now))
            continue
        with suppress(BrokerPlaneError):
            room.ask(who, do, **members_of(room, do, number, start, end, text))


@pytest.mark.parametrize(("kind", "sync"), PAIRS)
@settings(deadline=None, max_examples=examples(0.6))
@given(steps=st.lists(_STEPS, max_size=25))
def test_replaying_a_log_gives_the_live_session(kind: ArtifactKind, sync: Sync, steps: list[Any]) -> None:
    room = Room(VALUES[kind], kind, sync)
    play(room, steps)
    replayed = Folded.of(room.log)
    assert (replayed.state, replayed.value) == (room.folded.state, room.value)
    assert [entry.revision for entry in room.log] == list(range(1, room.revision + 1))


@pytest.mark.parametrize(("kind", "sync"), PAIRS)
@settings(deadline=None, max_examples=examples(0.4))
@given(steps=st.lists(_STEPS, max_size=20), more=st.lists(_STEPS, max_size=5))
def test_a_snapshot_goes_on_as_the_session_it_is_of(
    kind: ArtifactKind, sync: Sync, steps: list[Any], more: list[Any]
) -> None:
    room = Room(VALUES[kind], kind, sync)
    play(room, steps)
    unpacked = unpack_state(pack_state(room.folded))
    assert (unpacked.state, unpacked.value) == (room.folded.state, room.value)
    known = room.revision
    play(room, more)
    for entry in room.log[known:]:
        unpacked.fold(entry)
    assert (unpacked.state, unpacked.value) == (room.folded.state, room.value)


@pytest.mark.parametrize(("kind", "sync"), PAIRS)
@settings(deadline=None, max_examples=examples(0.4))
@given(steps=st.lists(_STEPS, max_size=20), target=st.integers(0, 100))
def test_a_rollback_equals_the_revision_that_it_goes_back_to(
    kind: ArtifactKind, sync: Sync, steps: list[Any], target: int
) -> None:
    room = Room(VALUES[kind], kind, sync)
    play(room, steps)
    to = 1 + target % room.revision
    answer = room.ask(OWNER, "rollback", to=to)
    old = Folded.of(room.log[:to]).value
    assert room.value == old
    assert answer["sha256"] == sha256(kind, old) == room.show()["sha256"]
    assert (room.log[-1].kind, answer["revision"]) == ("rolled_back", room.revision)


def test_every_change_is_in_the_log_of_its_author() -> None:
    room = Room("")
    for place, who in enumerate((ANNA, BOB, ANNA)):
        room.edit(who, str(place), place, place)
    assert [entry.participant for entry in room.log if entry.kind == "operation"] == [ANNA.id, BOB.id, ANNA.id]


def test_a_copy_goes_on_by_itself() -> None:
    room = Room("ab", sync="crdt")
    copy = room.folded.copy()
    room.edit(ANNA, "x", 0, 0)
    assert (copy.value, copy.state.revision, room.value) == ("ab", 1, "xab")


@pytest.mark.parametrize("revision", [1, 2, 4])
def test_an_entry_that_does_not_follow_changes_nothing(revision: int) -> None:
    room = Room("ab")
    room.ask(ANNA, "join")
    entry = Entry(
        revision=revision, at=NOW, participant=ANNA.id, role="editor", kind="operation", content={"change": ["x"]}
    )
    before = room.folded.state
    with pytest.raises(SessionError, match="does not follow"):
        room.folded.fold(entry)
    assert (room.folded.state, room.value) == (before, "ab")


@pytest.mark.parametrize("log", [[], [replace(Room("").log[0], revision=2)], [replace(Room("").log[0], kind="left")]])
def test_a_log_starts_with_its_creation(log: list[Entry]) -> None:
    with pytest.raises(SessionError, match="starts with its creation"):
        Folded.of(log)


def test_a_session_is_created_once() -> None:
    room = Room("")
    with pytest.raises(SessionError):
        room.folded.fold(replace(room.log[0], revision=2))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"format": STATE_FORMAT}),
        msgspec.msgpack.encode([1]),
        pack_state(Room("ab").folded)[:-1],
        pack_state(Room("ab", sync="crdt").folded)[:-1] + b"\xff",
    ],
)
def test_a_damaged_snapshot_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        unpack_state(raw)


def test_a_snapshot_of_another_format_is_refused_by_name() -> None:
    fields = msgspec.msgpack.decode(pack_state(Room("ab").folded))
    with pytest.raises(WireError, match="format 99"):
        unpack_state(msgspec.msgpack.encode(fields | {"format": 99}))


def test_a_closed_session_says_what_became_of_it() -> None:
    room = Room("ab")
    room.store(closed(room.folded, "done", "B" * 22, now=NOW, by_owner=True))
    closure = room.folded.state.closure
    assert closure is not None
    assert (closure.body, closure.sha256, closure.revision) == ("B" * 22, sha256("text", "ab"), 2)
    assert closure.media_type.startswith("text/plain")


def test_folding_stays_fast_with_many_participants_and_notes() -> None:
    """The bound is far above what it takes: folding must not get slower with each note by much."""
    room = Room("x" * 1000, policy={"limits": {"participants": 2000, "notes": 10_000}})
    for number in range(1000):
        room.ask(participant(f"p{number}", "observer"), "join")
    for number in range(2000):
        anchor = {"anchor": {"region": {"start": number % 900, "end": number % 900 + 9}}} if number % 10 == 0 else {}
        room.ask(REVIEWER, "note", type="comment", text="x", **anchor)
    began = process_time()
    for _ in range(100):
        room.edit(ANNA, "y", 0, 0)
    assert process_time() - began < 5


@pytest.mark.parametrize(("kind", "sync"), PAIRS)
def test_a_rollback_to_each_of_fifty_revisions_equals_it_by_its_digest(kind: ArtifactKind, sync: Sync) -> None:
    room = Room(VALUES[kind], kind, sync)
    for number in range(50):
        base = room.revision
        region, edit = region_and_edit(kind, number, number % 7, number % 11, f"{number} 🌴")
        with suppress(BrokerPlaneError):
            room.ask(ANNA if number % 2 else BOB, "propose", base=base, region=region, edit=edit)
    digests = {}
    replayed = Folded.of(room.log[:1])
    for entry in room.log[1:]:
        replayed.fold(entry)
        digests[entry.revision] = sha256(kind, replayed.value)
    assert len(set(digests.values())) > 20
    for revision in list(digests)[:50]:
        assert room.ask(OWNER, "rollback", to=revision)["sha256"] == digests[revision]
        assert sha256(kind, room.value) == digests[revision]


def test_a_repeated_request_is_applied_once() -> None:
    room = Room("ab")
    first = room.edit(ANNA, "x", 0, 0, request="r1")
    again = room.edit(ANNA, "x", 0, 0, request="r1")
    other = room.edit(BOB, "y", 0, 0, request="r1")
    assert room.value == "yxab"
    assert (again["revision"], again["repeated"]) == (first["revision"], True) and "repeated" not in other
    assert unpack_state(pack_state(room.folded)).state == room.folded.state
