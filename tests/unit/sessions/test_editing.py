"""Edits: on the newest revision, and on a stale one."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import (
    ChangeError,
    IntentError,
    RevisionNotFoundError,
    SessionClosedError,
    StaleBaseError,
    TooLargeError,
    WireError,
)
from broker_plane.sessions.closing import closed
from broker_plane.sessions.participants import OWNER
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.sessions.replicas.port import Sync
from tests.unit.sessions.rooms import ANNA, BOB, Room, participant

SYNCS: tuple[Sync, ...] = ("crdt", "ot", "patch")


@pytest.mark.parametrize("sync", SYNCS)
def test_an_edit_of_the_newest_revision_is_the_next_one(sync: Sync) -> None:
    room = Room("one two three", sync=sync)
    answer = room.edit(ANNA, "2 🌴", 4, 7, message="shorter")
    assert answer == {"merged": False, "stale": False, "revision": room.revision}
    assert room.value == "one 2 🌴 three"
    entry = room.log[-1]
    assert (entry.kind, entry.participant, entry.role, entry.intent, entry.base) == (
        "operation",
        ANNA.id,
        "editor",
        "write",
        1,
    )
    assert (entry.content["region"], entry.content["message"]) == ({"start": 4, "end": 7}, "shorter")


def test_a_participant_joins_with_its_first_entry() -> None:
    room = Room("text")
    room.edit(ANNA, "other")
    room.edit(ANNA, "more")
    assert [entry.kind for entry in room.log] == ["created", "joined", "operation", "operation"]


@pytest.mark.parametrize("sync", ["crdt", "ot"])
def test_a_stale_base_is_reported_with_what_changed(sync: Sync) -> None:
    room = Room("one\ntwo\n", sync=sync)
    base = room.revision
    room.edit(BOB, "2", 4, 7)
    with pytest.raises(StaleBaseError) as caught:
        room.edit(ANNA, "1", 0, 3, base=base)
    assert caught.value.revision == room.revision
    assert "-two" in caught.value.diff and "+2" in caught.value.diff
    assert room.value == "one\n2\n"


def test_a_note_does_not_make_a_base_stale() -> None:
    room = Room("text", sync="ot")
    room.ask(BOB, "note", type="comment", text="hello")
    assert room.edit(ANNA, "other", base=1)["stale"] is False


@pytest.mark.parametrize("sync", SYNCS)
def test_a_merge_of_a_stale_base_says_so(sync: Sync) -> None:
    room = Room("one\ntwo\n", sync=sync)
    base = room.revision
    room.edit(BOB, "zero\none", 0, 3)
    answer = room.edit(ANNA, "2", 4, 7, base=base, stale="merge")
    assert (answer["merged"], answer["stale"], answer["revision"]) == (True, True, room.revision)
    assert "+zero" in answer["diff"]
    assert room.value == "zero\none\n2\n"


def test_a_patch_session_reports_if_it_is_asked_to() -> None:
    room = Room("one\ntwo\n")
    base = room.revision
    room.edit(BOB, "zero", 0, 3)
    with pytest.raises(StaleBaseError):
        room.edit(ANNA, "2", 4, 7, base=base, stale="report")
    assert room.value == "zero\ntwo\n"


def test_an_edit_that_changes_nothing_adds_no_entry() -> None:
    room = Room("text")
    assert room.edit(ANNA, "text")["unchanged"] is True
    assert room.revision == 1


def test_an_update_of_ot_is_transformed_to_the_newest_revision() -> None:
    room = Room("ab", sync="ot")
    room.ask(BOB, "update", base=1, change=["x"])
    answer = room.ask(ANNA, "update", base=1, change=[1, {"d": 1}, "y"])
    assert (room.value, answer["revision"]) == ("xay", room.revision)


def test_of_two_inserts_at_one_place_the_earlier_revision_comes_first() -> None:
    room = Room("", sync="ot")
    room.ask(BOB, "update", base=1, change=["first"])
    room.ask(ANNA, "update", base=1, change=["second"])
    assert room.value == "firstsecond"


def test_an_update_of_crdt_is_bytes_of_yjs() -> None:
    room = Room("ab", sync="crdt")
    change = new_replica("text", "crdt", "ab").change_to("a🌴b")
    room.ask(ANNA, "update", change=change)
    assert room.value == "a🌴b"


@pytest.mark.parametrize(
    ("sync", "members", "error"),
    [
        ("patch", {"change": ["x"]}, WireError),
        ("crdt", {"change": ["x"]}, WireError),
        ("crdt", {"change": "!"}, WireError),
        ("crdt", {"change": "AQID"}, ChangeError),
        ("crdt", {"change": ""}, ChangeError),
        ("ot", {"change": "AQID"}, WireError),
        ("ot", {"change": ["x"]}, WireError),
        ("ot", {"base": 9, "change": ["x"]}, RevisionNotFoundError),
        ("ot", {"base": 1, "change": [{"d": "z"}]}, ChangeError),
        ("ot", {"base": 1, "change": [7, "x"]}, ChangeError),
    ],
)
def test_an_update_that_does_not_fit_changes_nothing(
    sync: Sync, members: dict[str, Any], error: type[Exception]
) -> None:
    room = Room("ab", sync=sync)
    with pytest.raises(error):
        room.ask(ANNA, "update", **members)
    assert (room.revision, room.value) == (1, "ab")


@pytest.mark.parametrize("base", [0, 2, 99])
def test_a_base_that_does_not_exist_is_refused(base: int) -> None:
    with pytest.raises((RevisionNotFoundError, WireError)):
        Room("ab").edit(ANNA, "x", base=base)


@pytest.mark.parametrize("region", [{"start": 0, "end": 3}, {"path": "/a"}])
def test_a_region_outside_the_artifact_is_refused(region: dict[str, Any]) -> None:
    with pytest.raises(ChangeError):
        Room("ab").ask(ANNA, "propose", base=1, region=region, edit="x")


@pytest.mark.parametrize("sync", SYNCS)
def test_a_change_and_a_document_have_limits(sync: Sync) -> None:
    room = Room("ab", sync=sync, policy={"limits": {"change_bytes": 100, "document_bytes": 180}})
    with pytest.raises(TooLargeError, match="change_bytes"):
        room.edit(ANNA, "x" * 101)
    with pytest.raises(TooLargeError):
        for _ in range(10):
            room.edit(ANNA, "x" * 60, 0, 0)
    assert len(room.value) < 180


def test_an_artifact_above_the_limit_makes_no_session() -> None:
    with pytest.raises(TooLargeError, match="document_bytes"):
        Room("x" * 50, policy={"limits": {"document_bytes": 10}})


def test_a_session_has_a_limit_of_entries_and_can_still_be_left_and_closed() -> None:
    room = Room("", policy={"limits": {"entries": 3}})
    room.edit(ANNA, "x")
    with pytest.raises(TooLargeError, match=r"limits\.entries"):
        room.edit(ANNA, "y")
    room.ask(ANNA, "leave")
    assert room.decide(OWNER, "close").closing


@pytest.mark.parametrize(
    ("grant", "asked", "intent"), [("", "", "write"), ("", "fix", "fix"), ("fix", "", "fix"), ("fix", "fix", "fix")]
)
def test_an_edit_has_the_intent_of_the_grant_or_the_request(grant: str, asked: str, intent: str) -> None:
    room = Room("ab")
    room.edit(participant("anna", intent=grant), "x", intent=asked)
    assert room.log[-1].intent == intent


def test_an_intent_that_somebody_joined_with_lasts() -> None:
    room = Room("ab")
    room.ask(ANNA, "join", intent="docs")
    room.edit(ANNA, "x")
    assert room.log[-1].intent == "docs"


@pytest.mark.parametrize(("grant", "asked"), [("fix", "docs"), ("", "conquer"), ("conquer", ""), ("", "-")])
def test_another_intent_is_refused(grant: str, asked: str) -> None:
    with pytest.raises(IntentError):
        Room("ab").edit(participant("anna", intent=grant), "x", intent=asked)


@pytest.mark.parametrize("do", ["propose", "note", "present", "lease", "confirm", "undo"])
def test_a_closed_session_can_only_be_read(do: str) -> None:
    members: dict[str, dict[str, Any]] = {
        "propose": {"base": 1, "edit": "x"},
        "note": {"type": "comment", "text": "x"},
        "undo": {"intent": "write"},
    }
    room = Room("ab")
    room.store(closed(room.folded, "done", "B" * 22, now=room.now))
    with pytest.raises(SessionClosedError):
        room.ask(ANNA, do, **members.get(do, {}))
    shown = room.ask(ANNA, "join")
    assert (shown["status"], shown["result"]["body"], room.revision) == ("closed", "B" * 22, 2)


@pytest.mark.parametrize("sync", ["crdt", "ot"])
def test_a_merge_that_meets_other_edits_says_where(sync: Sync) -> None:
    room = Room("one two three", sync=sync)
    base = room.revision
    room.edit(BOB, "2", 4, 7)
    answer = room.edit(ANNA, "zwei", 4, 7, base=base, stale="merge")
    (region,) = answer["overlaps"]
    assert "2" in room.value[region["start"] : region["end"]]
    assert "zwei" in room.value


@pytest.mark.parametrize("sync", ["crdt", "ot"])
def test_two_edits_that_make_one_line_longer_do_not_double_it(sync: Sync) -> None:
    room = Room("a line\nanother\n", sync=sync)
    for who, more in ((ANNA, " of Anna"), (BOB, " of Bob")):
        edit = {"text": f"a line{more}"}
        room.ask(who, do="propose", base=1, region={"start": 0, "end": 6}, edit=edit, stale="merge")
    assert room.value == "a line of Anna of Bob\nanother\n"


@pytest.mark.parametrize("sync", SYNCS)
def test_a_region_that_gets_what_it_has_adds_no_entry(sync: Sync) -> None:
    room = Room("one two three", sync=sync)
    room.edit(BOB, "2", 4, 7)
    before = room.revision
    answer = room.edit(BOB, "2", 4, 5)
    assert (answer["unchanged"], room.revision, room.value) == (True, before, "one 2 three")


@pytest.mark.parametrize("sync", SYNCS)
def test_a_stale_edit_that_changes_nothing_takes_nothing_back(sync: Sync) -> None:
    room = Room("one two three", sync=sync)
    base = room.revision
    room.edit(BOB, "2", 4, 7)
    answer = room.edit(BOB, "two", 4, 7, base=base, stale="merge")
    assert (answer["unchanged"], answer["stale"], room.value) == (True, True, "one 2 three")
