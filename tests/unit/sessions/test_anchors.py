"""Anchors of notes: they stay on what they are about, however it is rewritten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from broker_plane.sessions.anchors import Anchor, carry_anchor
from broker_plane.sessions.movements import carry_region, text_movement
from broker_plane.sessions.replicas.port import Sync
from broker_plane.sessions.text_ops import apply
from tests.unit.sessions.rooms import ANNA, BOB, REVIEWER, Room
from tests.unit.sessions.texts import TWO_EDITS

SYNCS: tuple[Sync, ...] = ("crdt", "ot", "patch")
PAGE = "First paragraph.\n\nThe second one is about palms 🌴.\n\nThird paragraph."
SECOND = "The second one is about palms 🌴."
START = PAGE.index(SECOND)
END = START + len(SECOND)


def noted(room: Room, start: int, end: int) -> str:
    anchor = {"region": {"start": start, "end": end}}
    return str(room.ask(REVIEWER, "note", type="question", text="Why?", anchor=anchor)["note"])


def anchored(room: Room) -> tuple[str, dict[str, Any]]:
    """The text under the anchor of the only note, and the anchor."""
    (note,) = room.show()["notes"]
    region = note["anchor"]["region"]
    return room.value[region["start"] : region["end"]], note["anchor"]


@pytest.mark.parametrize("sync", SYNCS)
def test_a_note_stays_on_its_paragraph_when_others_are_edited(sync: Sync) -> None:
    room = Room(PAGE, sync=sync)
    noted(room, START, END)
    room.edit(ANNA, "🎼 The first paragraph, longer.", 0, 16)
    room.edit(ANNA, "", len(room.value) - 16, len(room.value))
    text, anchor = anchored(room)
    assert (text, anchor["quote"], anchor["detached"]) == (SECOND, SECOND, False)


@pytest.mark.parametrize("sync", SYNCS)
def test_a_rewritten_paragraph_keeps_its_note_on_the_new_paragraph(sync: Sync) -> None:
    room = Room(PAGE, sync=sync)
    noted(room, START, END)
    room.edit(ANNA, "Something else entirely about ferns.", START, END)
    text, anchor = anchored(room)
    assert text == "Something else entirely about ferns."
    assert (anchor["quote"], anchor["detached"]) == (SECOND, False)


@pytest.mark.parametrize("sync", SYNCS)
def test_a_note_within_a_rewritten_paragraph_stays_in_it(sync: Sync) -> None:
    room = Room(PAGE, sync=sync)
    place = PAGE.index("palms")
    noted(room, place, place + 5)
    room.edit(ANNA, "A new second paragraph.", START, END)
    text, _ = anchored(room)
    assert text and text in "A new second paragraph."


@pytest.mark.parametrize("sync", SYNCS)
def test_a_note_survives_a_rewrite_of_the_whole_text(sync: Sync) -> None:
    room = Room(PAGE, sync=sync)
    noted(room, START, END)
    room.edit(ANNA, PAGE.replace("First", "The very first").replace("palms", "tall palms").replace("Third", "Last"))
    text, _ = anchored(room)
    assert text == SECOND.replace("palms", "tall palms")


@pytest.mark.parametrize("sync", SYNCS)
def test_a_paragraph_that_is_deleted_and_typed_again_keeps_its_note(sync: Sync) -> None:
    """As an editor for people does it: the selection goes, then one character after another comes."""
    room = Room(PAGE, sync=sync)
    noted(room, START, END)
    room.edit(ANNA, None, START, END)
    assert anchored(room)[1]["detached"] is True
    for place, character in enumerate("New one."):
        room.edit(ANNA, character, START + place, START + place)
    room.edit(ANNA, "\nMore", START + 8, START + 8)
    room.edit(ANNA, "!", START + 13, START + 13)
    text, anchor = anchored(room)
    assert (text, anchor["detached"]) == ("New one.", False)


@pytest.mark.parametrize("sync", SYNCS)
def test_a_note_moves_with_a_paragraph_that_one_edit_moves(sync: Sync) -> None:
    room = Room(PAGE, sync=sync)
    noted(room, START, END)
    ops = [SECOND + "\n\n", START, {"d": SECOND + "\n\n"}]
    room.edit(ANNA, {"ops": ops})
    text, anchor = anchored(room)
    assert (text, anchor["region"]["start"]) == (SECOND, 0)


def test_an_anchor_may_be_given_for_an_older_revision() -> None:
    room = Room(PAGE)
    room.edit(ANNA, "New start. ", 0, 0)
    anchor = {"region": {"start": START, "end": END}}
    room.ask(REVIEWER, "note", type="comment", text="x", anchor=anchor, base=1)
    assert anchored(room)[0] == SECOND


def test_leases_and_conflicts_move_along() -> None:
    room = Room("one two three")
    base = room.revision
    room.edit(BOB, "2", 4, 7)
    room.edit(ANNA, "zwei", 4, 7, base=base)
    room.ask(BOB, "lease", region={"start": 0, "end": 3})
    room.edit(BOB, "zero ", 0, 0)
    shown = room.show()
    assert [each["region"] for each in shown["leases"]] == [{"start": 5, "end": 8}]
    assert [each["region"] for each in shown["conflicts"]] == [{"start": 9, "end": 10}]


@pytest.mark.parametrize(
    ("op", "before", "after"),
    [
        (["x"], (0, 3), (1, 4)),
        ([3, "x"], (0, 3), (0, 3)),
        ([3, "x"], (3, 6), (4, 7)),
        ([1, "x"], (0, 3), (0, 4)),
        ([{"d": "abc"}], (0, 3), (0, 0)),
        ([{"d": "abcdef"}], (1, 3), (0, 0)),
        ([1, {"d": "bcd"}], (0, 3), (0, 1)),
        ([1, {"d": "bcd"}], (2, 6), (1, 3)),
        ([{"d": "abc"}, "xy"], (0, 3), (0, 2)),
        (["xy", {"d": "abc"}], (0, 3), (0, 2)),
        ([1, {"d": "bcd"}, "x"], (2, 6), (1, 4)),
        ([1, {"d": "bcd"}, "x"], (0, 3), (0, 2)),
        ([3, {"d": "d"}, "xyz"], (0, 3), (0, 3)),
        ([2, "x"], (2, 2), (2, 3)),
        ([1, {"d": "b"}, 2, {"d": "e"}], (2, 4), (1, 3)),
    ],
)
def test_a_span_moves_with_the_text(op: list[Any], before: tuple[int, int], after: tuple[int, int]) -> None:
    region = carry_region({"start": before[0], "end": before[1]}, text_movement(op))
    assert region == {"start": after[0], "end": after[1]}


@settings(deadline=None)
@given(TWO_EDITS)
def test_a_carried_span_is_within_the_new_text(edits: Any) -> None:
    text, op, _ = edits
    after = apply(op, text)
    for start in range(len(text) + 1):
        for end in range(start, len(text) + 1):
            region = carry_region({"start": start, "end": end}, text_movement(op))
            assert region is not None and 0 <= region["start"] <= region["end"] <= len(after)
            carried = carry_anchor(Anchor(region={"start": start, "end": end}), text_movement(op)).region
            assert carried is not None and 0 <= carried["start"] <= carried["end"] <= len(after)


@settings(deadline=None)
@given(TWO_EDITS)
def test_a_refined_movement_is_the_same_change(edits: Any) -> None:
    text, op, _ = edits
    whole: Any = [{"d": text}, apply(op, text)] if text and apply(op, text) else op
    ends = {edit.end for edit in text_movement(whole).refined.edits}
    assert max(ends, default=0) <= len(text)
    lengths = sum(len(edit.inserted) - (edit.end - edit.start) for edit in text_movement(whole).refined.edits)
    assert lengths == len(apply(whole, text)) - len(text)


@pytest.mark.parametrize("sync", SYNCS)
def test_a_note_stays_on_its_paragraph_when_a_larger_region_is_replaced(sync: Sync) -> None:
    room = Room(PAGE, sync=sync)
    noted(room, START, END)
    room.edit(ANNA, PAGE.replace("palms", "tall palms"), 0, len(PAGE))
    assert anchored(room)[0] == SECOND.replace("palms", "tall palms")
