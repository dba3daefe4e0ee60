"""What one participant does much of takes nothing from the others."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import TooLargeError
from broker_plane.sessions.closing import reverted
from tests.unit.sessions.rooms import ANNA, BOB, Room, participant


@pytest.mark.parametrize("sync", ["patch", "ot"])
def test_a_request_is_applied_once_however_much_others_do_before_it_is_repeated(sync: Any) -> None:
    room = Room("Hello", sync=sync)
    request = {"base": 1, "edit": "X", "region": {"start": 0, "end": 0}, "stale": "merge", "request": "once"}
    first = room.ask(ANNA, "propose", **request)
    for number in range(600):
        room.edit(BOB, str(number), 0, len(room.value), request=str(number))
    repeated = room.ask(ANNA, "propose", **request)
    assert repeated["repeated"] and repeated["revision"] == first["revision"]
    assert "X" not in room.value


def test_a_repeated_request_is_not_told_that_a_reverted_change_is_there() -> None:
    room = Room("Hello")
    room.edit(ANNA, "Bye", request="once")
    room.store(reverted(room.folded, "Hello", "polite", "too short", now=room.now))
    assert "repeated" not in room.edit(ANNA, "Bye", request="once")


def test_observers_under_many_names_leave_places_for_editors() -> None:
    room = Room("Hello", policy={"limits": {"participants": 10}})
    with pytest.raises(TooLargeError):
        for number in range(10):
            room.ask(participant(f"o{number}", "observer"), "join")
    room.edit(ANNA, "Bye")
    assert room.value == "Bye"
