"""Joining, leaving, confirming and closing; who is shown, and as whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker_plane.errors import ForbiddenError, TooLargeError, WireError
from broker_plane.sessions import decisions
from broker_plane.sessions.closing import ALL_CONFIRMED
from broker_plane.sessions.folded import pack_state, unpack_state
from broker_plane.sessions.participants import OWNER, hidden, parse_name, participant_id
from tests.unit.sessions.rooms import ANNA, BOB, OBSERVER, REVIEWER, SECRET, SESSION, Room, participant


def test_joining_is_recorded_once_and_shows_the_session() -> None:
    room = Room("text")
    for _ in range(2):
        shown = room.ask(OBSERVER, "join")
        assert (shown["value"], shown["revision"], shown["status"]) == ("text", 2, "open")
        assert shown["you"] == {"id": OBSERVER.id, "name": "otto", "role": "observer", "intent": "review"}
        assert [each["id"] for each in shown["participants"]] == [OBSERVER.id]
    assert [entry.kind for entry in room.log] == ["created", "joined"]


def test_joining_may_leave_the_artifact_out() -> None:
    assert "value" not in Room("text").ask(ANNA, "join", value=False)


def test_a_participant_who_left_can_come_back() -> None:
    room = Room("text")
    for do in ("join", "leave", "leave", "join"):
        room.ask(ANNA, do)
    assert [entry.kind for entry in room.log] == ["created", "joined", "left", "joined"]
    assert room.show()["participants"][0]["present"] is True


def test_the_number_of_participants_is_limited() -> None:
    room = Room("text", policy={"limits": {"participants": 1}})
    room.ask(ANNA, "join")
    room.ask(ANNA, "leave")
    with pytest.raises(TooLargeError, match=r"limits\.participants"):
        room.edit(BOB, "x")
    room.ask(ANNA, "join")


def test_a_session_closes_when_all_expected_participants_have_confirmed() -> None:
    room = Room("text", policy={"expected": ["anna", "rita"]})
    assert room.ask(ANNA, "confirm") == {"confirmed": ["anna"], "missing": ["rita"]}
    assert room.ask(ANNA, "confirm") == {"confirmed": ["anna"], "missing": ["rita"]}
    assert room.ask(BOB, "confirm")["missing"] == ["rita"]
    decision = room.decide(REVIEWER, "confirm")
    assert (decision.closing, decision.answer["missing"]) == (ALL_CONFIRMED, [])
    assert room.show()["expected"] == ["anna", "rita"]


def test_nobody_confirms_under_a_name_that_a_grant_gives_to_another() -> None:
    room = Room("text", policy={"expected": ["anna"]})
    room.ask(replace(ANNA, id="anna-123456", verified=True), "join")
    with pytest.raises(ForbiddenError, match="anna"):
        room.ask(ANNA, "confirm")


def test_a_session_without_expected_participants_is_closed_by_its_owner() -> None:
    room = Room("text")
    assert room.decide(ANNA, "confirm").closing is None
    assert room.decide(OWNER, "close", reason="it is done").closing == "it is done"


def test_an_anonymous_session_shows_pseudonyms_everywhere() -> None:
    room = Room("text", policy={"anonymous": True})
    room.edit(ANNA, "x")
    room.ask(REVIEWER, "note", type="comment", text="y")
    room.ask(ANNA, "lease")
    seen = repr([entry.to_json() for entry in room.log]) + repr(room.show()) + repr(room.decide(ANNA, "present"))
    assert not any(each in seen for each in ("anna", "rita"))
    assert room.log[-1].participant == hidden(ANNA, SECRET).id == room.show()["participants"][0]["id"]


def test_nothing_that_participants_see_computes_a_pseudonym_or_tells_a_verified_name() -> None:
    """Otherwise whoever shares a grant could find a name by trying all of a dictionary."""
    room = Room("text", policy={"anonymous": True})
    known = participant("anna", verified=True)
    shown = [room.ask(known, "join"), room.show()]
    entries = room.ask(REVIEWER, "log")["entries"]
    assert room.folded.state.secret == SECRET
    assert SECRET not in repr([shown, entries]) and "secret" not in repr([shown, entries])
    assert hidden(known, SESSION).id not in repr([shown, entries])
    assert "verified" not in repr([shown, entries])
    assert unpack_state(pack_state(room.folded)).state.secret == SECRET


def test_a_pseudonym_is_another_one_in_another_session() -> None:
    one, other = hidden(ANNA, SESSION), hidden(ANNA, "B" * 22)
    assert one.id != other.id and one.id.startswith("p-") and len(one.id) == 14
    assert hidden(OWNER, SESSION) is OWNER


def test_one_name_with_one_grant_is_one_participant() -> None:
    assert participant_id("anna", "grant") == participant_id("anna", "grant")
    assert len({participant_id("anna", "grant"), participant_id("anna", "other"), participant_id("bob", "grant")}) == 3


@pytest.mark.parametrize(("given", "name"), [(None, "anonymous"), ("", "anonymous"), ("Anna.B-1_", "anna.b-1_")])
def test_a_name_is_lower_case_or_anonymous(given: Any, name: str) -> None:
    assert parse_name(given) == name


@pytest.mark.parametrize("given", ["a b", "ä", "x" * 33, "OWNER", "plane", 7, "a\n"])
def test_another_name_is_refused(given: Any) -> None:
    with pytest.raises(WireError, match="name"):
        parse_name(given)


def test_a_participant_who_joins_with_another_intent_is_recorded_with_it() -> None:
    room = Room("text")
    room.ask(ANNA, "join", intent="docs")
    room.ask(ANNA, "join")
    assert room.show()["participants"][0]["intent"] == "docs"
    room.ask(ANNA, "join", intent="fix")
    assert room.show()["participants"][0]["intent"] == "fix"
    room.edit(ANNA, "x", intent="docs")
    assert [(entry.kind, entry.intent) for entry in room.log[1:]] == [
        ("joined", "docs"),
        ("joined", "fix"),
        ("operation", "docs"),
    ]


def test_one_who_comes_and_goes_cannot_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MOST_JOINS", 3)
    room = Room("text")
    for _ in range(10):
        assert room.ask(ANNA, "join")["value"] == room.value
        room.ask(ANNA, "leave")
    assert len(room.log) == 1 + 2 * 3
    room.edit(ANNA, "still heard")
    assert room.value == "still heard"
