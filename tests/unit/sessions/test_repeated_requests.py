"""A request whose answer was lost is sent again with the same id: it is answered again, and applied once."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.sessions import folds
from broker_plane.sessions.folded import pack_state, unpack_state
from tests.unit.sessions.rooms import ANNA, BOB, Room


def twice(room: Room, do: str, **members: Any) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Both answers, and the number of entries that the second request added."""
    first = room.ask(ANNA, do, request="r", **members)
    before = room.revision
    return first, room.ask(ANNA, do, request="r", **members), room.revision - before


def test_an_edit_is_applied_once() -> None:
    room = Room("one")
    first, second, added = twice(room, "propose", base=1, region={"start": 0, "end": 0}, edit={"text": "x"})
    assert (room.value, added) == ("xone", 0)
    assert second == {"revision": first["revision"], "repeated": True}


@pytest.mark.parametrize(
    ("do", "members", "kept"),
    [
        ("note", {"type": "comment", "text": "hello"}, ("note", "revision")),
        ("lease", {"region": None}, ("lease", "until", "revision")),
        ("rollback", {"to": 1}, ("revision",)),
    ],
)
def test_the_repeated_answer_has_what_the_first_one_made(
    do: str, members: dict[str, Any], kept: tuple[str, ...]
) -> None:
    room = Room("one")
    room.ask(BOB, "propose", base=1, edit={"text": "two"})
    first, second, added = twice(room, do, **members)
    assert added == 0 and second["repeated"]
    assert {name: second[name] for name in kept} == {name: first[name] for name in kept}


def test_a_conflict_is_recorded_once_and_named_again() -> None:
    room = Room("one")
    room.ask(BOB, "propose", base=1, edit={"text": "two"}, region={"start": 0, "end": 3})
    first, second, added = twice(room, "propose", base=1, edit={"text": "three"}, region={"start": 0, "end": 3})
    assert added == 0 and second["conflict"]["id"] == first["conflict"]["id"]
    assert len(room.folded.state.conflicts) == 1


def test_an_id_is_of_its_participant() -> None:
    room = Room("one")
    room.ask(ANNA, "note", request="r", type="comment", text="a")
    assert "repeated" not in room.ask(BOB, "note", request="r", type="comment", text="b")


def test_a_refused_request_may_be_repeated() -> None:
    room = Room("one")
    with pytest.raises(Exception, match="99"):
        room.ask(ANNA, "rollback", request="r", to=99)
    assert "repeated" not in room.ask(ANNA, "note", request="r", type="comment", text="a")


def test_a_snapshot_remembers_requests() -> None:
    room = Room("one")
    room.ask(ANNA, "note", request="r", type="comment", text="a")
    room.folded = unpack_state(pack_state(room.folded))
    assert room.ask(ANNA, "note", request="r", type="comment", text="a")["repeated"]


def test_only_the_newest_requests_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "MOST_ANSWERED", 3)
    room = Room("one")
    for number in range(5):
        room.ask(ANNA, "note", request=f"r{number}", type="comment", text="a")
    assert list(room.folded.state.answered[ANNA.id]) == ["r2", "r3", "r4"]


def test_a_repeated_confirmation_is_answered_after_the_end() -> None:
    room = Room("one", policy={"expected": ["anna"]})
    room.ask(ANNA, "confirm", request="r")
    assert room.ask(ANNA, "confirm", request="r")["repeated"]
