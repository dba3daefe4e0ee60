"""Notes: typed, in threads, on the same log as the artifact."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import msgspec
import pytest

from broker_plane.errors import ChangeError, ForbiddenError, RevisionNotFoundError, SessionError, TooLargeError
from broker_plane.sessions.participants import OWNER, Participant
from broker_plane.sessions.requests import NOTE_TYPES
from broker_plane.sessions.views import NOTES_BYTES
from tests.unit.sessions.rooms import ANNA, OBSERVER, REVIEWER, Room, participant


@pytest.mark.parametrize("kind", [each for each in NOTE_TYPES if each not in ("verdict", "answer")])
def test_a_note_begins_a_thread(kind: str) -> None:
    room = Room("text")
    answer = room.ask(REVIEWER, "note", type=kind, text="hello")
    assert answer == {"note": answer["note"], "thread": answer["note"], "revision": room.revision}
    (note,) = room.show()["notes"]
    assert (note["type"], note["text"], note["participant"], note["role"]) == (kind, "hello", REVIEWER.id, "reviewer")
    assert room.value == "text"


def test_an_answer_belongs_to_the_thread_of_its_question() -> None:
    room = Room("text")
    question = room.ask(REVIEWER, "note", type="question", text="Why?")["note"]
    answer = room.ask(ANNA, "note", type="answer", text="Because.", thread=question)
    assert answer["thread"] == question != answer["note"]
    assert [each["thread"] for each in room.show()["notes"]] == [question, question]


def test_a_thread_is_named_by_its_first_note() -> None:
    room = Room("text")
    question = room.ask(REVIEWER, "note", type="question", text="Why?")["note"]
    reply = room.ask(ANNA, "note", type="answer", text="Because.", thread=question)["note"]
    for thread in (reply, "nothing"):
        with pytest.raises(SessionError, match="thread"):
            room.ask(REVIEWER, "note", type="comment", text="x", thread=thread)


@pytest.mark.parametrize("verdict", ["approve", "request_changes"])
def test_a_reviewer_gives_a_verdict(verdict: str) -> None:
    room = Room("text")
    room.ask(REVIEWER, "note", type="verdict", verdict=verdict, text="so it is")
    assert room.show()["notes"][0]["verdict"] == verdict


def test_an_observer_cannot_write_a_note() -> None:
    with pytest.raises(ForbiddenError, match="observer"):
        Room("text").ask(OBSERVER, "note", type="comment", text="x")


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"anchor": {"region": {"start": 0, "end": 5}}}, ChangeError),
        ({"anchor": {"region": {"path": "/a"}}}, ChangeError),
        ({"anchor": {"region": None}, "base": 7}, RevisionNotFoundError),
    ],
)
def test_an_anchor_that_does_not_exist_is_refused(members: dict[str, Any], error: type[Exception]) -> None:
    room = Room("text")
    with pytest.raises(error):
        room.ask(REVIEWER, "note", type="comment", text="x", **members)
    assert room.revision == 1


def test_the_number_of_notes_is_limited() -> None:
    room = Room("text", policy={"limits": {"notes": 2}})
    for _ in range(2):
        room.ask(OWNER, "note", type="comment", text="x")
    with pytest.raises(TooLargeError, match=r"limits\.notes"):
        room.ask(REVIEWER, "note", type="comment", text="x")


def fill(room: Room, *who: Participant, text: str = "x") -> None:
    """Write notes in turn until one is refused."""
    with pytest.raises(TooLargeError, match=r"limits\.notes"):
        for each in cycle(who):
            room.ask(each, "note", type="comment", text=text)


@pytest.mark.parametrize(
    ("limits", "text"), [({"notes": 16}, "x"), ({"notes_bytes": 16 << 10}, "é" * 512)], ids=["number", "bytes"]
)
def test_one_participant_and_one_grant_leave_places_to_others(limits: dict[str, int], text: str) -> None:
    room = Room("text", policy={"limits": limits})
    other = Participant("sara-fedcba", "sara", "reviewer")
    fill(room, REVIEWER, text=text)
    assert len(room.show()["notes"]) == 4
    invented = [participant(f"name{number}", "reviewer") for number in range(9)]
    fill(room, *invented, text=text)
    assert len(room.show()["notes"]) == 8
    room.ask(other, "note", type="verdict", verdict="approve", text="x")
    fill(room, OWNER, text=text)
    assert 15 <= len(room.show()["notes"]) <= 16


def test_show_has_the_newest_notes_up_to_a_size_and_every_newest_verdict() -> None:
    room = Room("text", policy={"limits": {"notes_bytes": 8 << 20}})
    for _ in range(2):
        room.ask(REVIEWER, "note", type="verdict", verdict="approve", text="so it is")
    first = room.revision
    for _ in range(100):
        room.ask(ANNA, "note", type="comment", text="x" * (8 << 10))
    shown = room.show()
    notes = shown["notes"]
    assert len(msgspec.json.encode(notes)) < NOTES_BYTES + 1024
    assert [each["revision"] for each in notes][1:] == list(range(room.revision - len(notes) + 2, room.revision + 1))
    assert (notes[0]["revision"], notes[0]["verdict"]) == (first, "approve")
    assert shown["notes_left_out"] == 102 - len(notes) > 50
    assert shown["notes_before"] == notes[1]["revision"]
    entries = room.ask(ANNA, "log", limit=500)["entries"]
    known = {each["note"] for each in notes}
    before = [each for each in entries if each["kind"] == "noted" and each["revision"] < shown["notes_before"]]
    assert len([each for each in before if each["content"]["note"] not in known]) == shown["notes_left_out"]


def test_nothing_is_left_out_of_few_notes() -> None:
    room = Room("text")
    room.ask(REVIEWER, "note", type="comment", text="x")
    assert "notes_left_out" not in room.show()
