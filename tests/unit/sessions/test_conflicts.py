"""Conflicts of `patch`: who wins, what is kept of the other side, and who decides."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import ForbiddenError, RevisionNotFoundError, SessionError, StaleBaseError
from broker_plane.sessions import folds
from broker_plane.sessions.participants import OWNER, Participant
from tests.unit.sessions.rooms import ANNA, BOB, EVA, REVIEWER, Room, participant

TEXT = "one two three"


def overlapping(room: Room, bobs: str = "fix", annas: str = "fix") -> dict[str, Any]:
    """Bob makes "two" "2", then Anna, who has not seen it, makes it "zwei"."""
    base = room.revision
    room.edit(BOB, "2", 4, 7, intent=bobs)
    return dict(room.edit(ANNA, "zwei", 4, 7, base=base, intent=annas))


def test_the_higher_priority_of_the_later_edit_wins_and_the_other_side_is_kept() -> None:
    room = Room(TEXT)
    answer = overlapping(room, "docs", "security")
    assert room.value == "one zwei three"
    assert (answer["merged"], answer["stale"]) == (True, True)
    assert answer["conflict"]["winner"] == "theirs"
    record = room.log[-1]
    assert (record.kind, record.content["status"]) == ("conflict", "priority")
    assert (record.content["ours"]["text"], record.content["ours"]["participant"]) == ("2", BOB.id)
    assert (record.content["theirs"]["text"], record.content["theirs"]["intent"]) == ("zwei", "security")
    assert room.log[-2].content["conflict"] == record.content["conflict"]
    assert room.show()["conflicts"] == []


def test_the_lower_priority_of_the_later_edit_loses_and_is_kept() -> None:
    room = Room(TEXT)
    answer = overlapping(room, "security", "docs")
    assert room.value == "one 2 three"
    assert (answer["merged"], answer["conflict"]["winner"], answer["revision"]) == (False, "ours", room.revision)
    assert room.log[-1].content["theirs"]["text"] == "zwei"


def test_equal_priorities_wait_for_a_decision() -> None:
    room = Room(TEXT)
    answer = overlapping(room)
    assert room.value == "one 2 three"
    assert answer["conflict"]["status"] == "open" and answer["merged"] is False
    (conflict,) = room.show()["conflicts"]
    assert (conflict["id"], conflict["region"]) == (answer["conflict"]["id"], {"start": 4, "end": 5})
    assert (conflict["ours"]["text"], conflict["theirs"]["text"]) == ("2", "zwei")


def test_the_same_edit_of_two_is_no_conflict() -> None:
    room = Room(TEXT)
    base = room.revision
    room.edit(BOB, "2", 4, 7)
    answer = room.edit(ANNA, "2", 4, 7, base=base)
    assert "conflict" not in answer and room.value == "one 2 three"


def test_the_strongest_of_several_rivals_decides() -> None:
    room = Room(TEXT)
    base = room.revision
    room.edit(BOB, "1", 0, 3, intent="security")
    room.edit(EVA, "3", 6, 11, intent="docs")
    answer = room.edit(ANNA, "all of it new", 0, 13, base=base, intent="fix")
    assert (answer["conflict"]["winner"], room.log[-1].content["ours"]["participant"]) == ("ours", BOB.id)
    assert room.value == "1 two 3"


def test_what_does_not_overlap_is_kept_when_the_later_edit_wins() -> None:
    room = Room("one\ntwo\nthree\n")
    base = room.revision
    room.edit(BOB, "2", 4, 7, intent="docs")
    room.edit(BOB, "drei", 6, 11, intent="docs")
    room.edit(ANNA, {"ops": [{"d": "one\ntwo"}, "uno\ndos"]}, base=base, intent="security")
    assert room.value == "uno\ndos\ndrei\n"


@pytest.mark.parametrize(
    ("choice", "value"),
    [("ours", "zero one 2 three"), ("theirs", "zero one zwei three"), ({"edit": "II"}, "zero one II three")],
)
def test_a_decision_applies_to_the_artifact_as_it_is_by_then(choice: Any, value: str) -> None:
    room = Room(TEXT)
    conflict = overlapping(room)["conflict"]["id"]
    room.edit(EVA, "zero ", 0, 0)
    answer = room.ask(EVA, "decide", conflict=conflict, choice=choice)
    assert (room.value, answer["revision"]) == (value, room.revision)
    assert room.show()["conflicts"] == []
    decided = next(entry for entry in room.log if entry.kind == "decided")
    kept = {} if choice == "ours" else {"replaced": {"region": {"start": 9, "end": 10}, "text": "2"}}
    said = choice if isinstance(choice, str) else "other"
    assert decided.content == {"conflict": conflict, "choice": said, **kept}


@pytest.mark.parametrize(
    ("bobs", "annas", "choice", "value"),
    [
        ("docs", "security", "ours", "one 2 three!"),
        ("docs", "security", "theirs", "one zwei three!"),
        ("security", "docs", "theirs", "one zwei three!"),
    ],
)
def test_what_priority_settled_can_still_be_decided_otherwise(bobs: str, annas: str, choice: str, value: str) -> None:
    room = Room(TEXT)
    conflict = overlapping(room, bobs, annas)["conflict"]["id"]
    room.edit(EVA, "!", len(room.value), len(room.value))
    room.ask(EVA, "decide", conflict=conflict, choice=choice)
    assert room.value == value


def test_a_conflict_is_decided_once() -> None:
    room = Room(TEXT)
    conflict = overlapping(room)["conflict"]["id"]
    room.ask(EVA, "decide", conflict=conflict, choice="ours")
    with pytest.raises(SessionError, match=conflict):
        room.ask(EVA, "decide", conflict=conflict, choice="theirs")


JUDGE = participant("judge", "reviewer", verified=True)


@pytest.mark.parametrize(
    ("policy", "who", "may"),
    [
        ({}, EVA, True),
        ({}, OWNER, True),
        ({}, REVIEWER, False),
        ({"arbitration": "owner"}, OWNER, True),
        ({"arbitration": "owner"}, EVA, False),
        ({"arbitration": "arbiter", "arbiter": "judge"}, JUDGE, True),
        ({"arbitration": "arbiter", "arbiter": "judge"}, OWNER, True),
        ({"arbitration": "arbiter", "arbiter": "judge"}, EVA, False),
        ({"arbitration": "arbiter", "arbiter": "judge"}, participant("judge"), False),
        ({"arbitration": "arbiter", "arbiter": "judge"}, participant("judge", "observer", verified=True), False),
    ],
)
def test_only_whom_the_policy_names_decides(policy: dict[str, Any], who: Participant, may: bool) -> None:
    room = Room(TEXT, policy=policy)
    conflict = overlapping(room)["conflict"]["id"]
    if may:
        room.ask(who, "decide", conflict=conflict, choice="theirs")
        assert room.value == "one zwei three"
    else:
        with pytest.raises(ForbiddenError):
            room.ask(who, "decide", conflict=conflict, choice="theirs")
        assert room.value == "one 2 three"


def test_settled_conflicts_do_not_pile_up_in_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "MOST_SETTLED", 3)
    room = Room(TEXT)
    for number in range(6):
        base, end = room.revision, len(room.value) - 6
        room.edit(BOB, "2", 4, end, intent="docs")
        room.edit(ANNA, f"number {number}", 4, end, base=base, intent="fix")
    assert sum(entry.kind == "conflict" for entry in room.log) == 6
    assert [each.theirs["text"] for each in room.folded.state.conflicts.values()] == [
        "number 3",
        "number 4",
        "number 5",
    ]


@pytest.mark.parametrize("choice", ["theirs", {"edit": "II"}])
def test_a_decision_about_a_region_that_has_changed_since_is_refused_with_the_diff(choice: Any) -> None:
    room = Room(TEXT)
    conflict = overlapping(room)["conflict"]["id"]
    room.edit(EVA, "second", 4, 5)
    before = len(room.log)
    with pytest.raises(StaleBaseError, match="decide again") as refused:
        room.ask(BOB, "decide", conflict=conflict, choice=choice)
    assert (room.value, len(room.log), refused.value.revision) == ("one second three", before, room.revision)
    assert "-one 2 three" in refused.value.diff and "+one second three" in refused.value.diff


@pytest.mark.parametrize(("choice", "value"), [("theirs", "one zwei three"), ({"edit": "II"}, "one II three")])
def test_who_has_read_what_changed_decides_and_what_that_replaces_is_kept(choice: Any, value: str) -> None:
    room = Room(TEXT)
    conflict = overlapping(room)["conflict"]["id"]
    room.edit(EVA, "second", 4, 5)
    answer = room.ask(BOB, "decide", conflict=conflict, choice=choice, base=room.revision)
    replaced = {"region": {"start": 4, "end": 10}, "text": "second"}
    decided = next(entry for entry in room.log if entry.kind == "decided")
    assert (room.value, decided.content["replaced"], answer["replaced"]) == (value, replaced, replaced)


@pytest.mark.parametrize("choice", ["theirs", {"edit": "II"}])
@pytest.mark.parametrize("third", ["third", ""])
def test_a_decision_does_not_replace_what_came_after_the_revision_that_it_names(choice: Any, third: str) -> None:
    room = Room(TEXT)
    conflict = overlapping(room)["conflict"]["id"]
    room.edit(EVA, "second", 4, 5)
    read = room.revision
    room.edit(EVA, third, 4, 10)
    with pytest.raises(StaleBaseError):
        room.ask(BOB, "decide", conflict=conflict, choice=choice, base=read)
    assert room.value == f"one {third} three"


def test_keeping_the_artifact_as_it_is_needs_no_revision() -> None:
    room = Room(TEXT)
    conflict = overlapping(room)["conflict"]["id"]
    room.edit(EVA, "second", 4, 5)
    room.ask(BOB, "decide", conflict=conflict, choice="ours")
    assert room.value == "one second three"
    assert "replaced" not in room.log[-1].content


def test_a_decision_names_a_revision_that_exists() -> None:
    room = Room(TEXT)
    conflict = overlapping(room)["conflict"]["id"]
    with pytest.raises(RevisionNotFoundError, match="base"):
        room.ask(BOB, "decide", conflict=conflict, choice="theirs", base=room.revision + 1)


def test_what_won_by_priority_is_replaced_as_a_whole() -> None:
    room = Room(TEXT)
    conflict = overlapping(room, "docs", "security")["conflict"]["id"]
    room.ask(EVA, "decide", conflict=conflict, choice={"edit": "II"})
    assert room.value == "one II three"


def test_a_decision_about_json_does_not_replace_later_edits_either() -> None:
    room = Room({"title": "a", "other": 1}, "json")
    base = room.revision
    room.ask(BOB, "propose", base=base, region={"path": "/title"}, edit={"value": "b"})
    answer = room.ask(ANNA, "propose", base=base, region={"path": "/title"}, edit={"value": "c"})
    conflict = answer["conflict"]["id"]
    room.ask(EVA, "propose", base=room.revision, region={"path": "/other"}, edit={"value": 2})
    read = room.revision
    room.ask(EVA, "propose", base=room.revision, region={"path": "/title"}, edit={"value": "d"})
    for given in ({}, {"base": read}):
        with pytest.raises(StaleBaseError):
            room.ask(EVA, "decide", conflict=conflict, choice="theirs", **given)
    done = room.ask(EVA, "decide", conflict=conflict, choice="theirs", base=room.revision)
    assert room.value == {"title": "c", "other": 2}
    assert done["replaced"] == {"region": {"path": "/title"}, "value": "d"}


def test_a_decision_leaves_what_was_changed_between_the_places_of_a_side() -> None:
    room = Room("one two three")
    base = room.revision
    room.edit(BOB, {"ops": [{"d": "one"}, "1", 5, {"d": "three"}, "3"]})
    ops = [{"d": "one"}, "uno", 5, {"d": "three"}, "tres"]
    conflict = room.edit(ANNA, {"ops": ops}, base=base)["conflict"]["id"]
    room.edit(EVA, "2", 2, 5)
    room.ask(EVA, "decide", conflict=conflict, choice="theirs")
    assert room.value == "uno 2 tres"


LINES = "one\ntwo\nthree\n"


def test_an_edit_that_only_touches_the_other_one_is_no_part_of_the_conflict() -> None:
    room = Room(LINES)
    base = room.revision
    room.edit(BOB, "1\n", 0, 4)
    room.edit(EVA, "2\n", 4, 8, base=base)
    conflict = room.edit(ANNA, "uno\n", 0, 4, base=base)["conflict"]["id"]
    record = room.log[-1].content
    assert record["region"] == {"start": 0, "end": 2}
    assert (record["ours"]["text"], record["theirs"]["text"]) == ("1\n", "uno\n")
    room.ask(OWNER, "decide", conflict=conflict, choice="theirs")
    assert room.value == "uno\n2\nthree\n"


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("choice", "value"), [("theirs", "un\ndeux\nthree\n"), ({"edit": "Z\n"}, "Z\nZ\nthree\n")])
def test_conflicts_of_neighbouring_lines_are_two_and_each_is_decided_by_itself(
    first: int, choice: Any, value: str
) -> None:
    room = Room(LINES)
    base = room.revision
    for who, lines in ((BOB, ("1\n", "2\n")), (ANNA, ("un\n", "deux\n"))):
        room.edit(who, lines[0], 0, 4, base=base)
        room.edit(who, lines[1], 4, 8, base=base)
    conflicts = room.show()["conflicts"]
    assert [(each["ours"]["text"], each["theirs"]["text"]) for each in conflicts] == [
        ("1\n", "un\n"),
        ("2\n", "deux\n"),
    ]
    for each in (conflicts[first], conflicts[1 - first]):
        room.ask(EVA, "decide", conflict=each["id"], choice=choice)
    assert room.value == value


def test_a_text_inserted_at_the_edge_of_a_conflict_is_no_part_of_it() -> None:
    room = Room(LINES)
    base = room.revision
    room.edit(BOB, {"ops": [{"d": "one"}, "1", 1, {"d": "two"}, "2"]})
    room.edit(ANNA, {"ops": ["above\n", 4, {"d": "two"}, "zwei"]}, base=base, intent="security")
    assert room.value == "above\n1\nzwei\nthree\n"
    assert room.log[-1].content["ours"]["text"] == "1\n2"
