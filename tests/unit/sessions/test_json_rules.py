"""The rules on JSON documents and tables: conflicts, undo, leases and anchors by path."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import ChangeError, RegionLeasedError, StaleBaseError
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.replicas.port import ArtifactKind, Sync
from tests.unit.sessions.rooms import ANNA, BOB, EVA, REVIEWER, Room

DOCUMENT = {"title": "palms", "parts": [{"n": 1, "text": "one"}, {"n": 2, "text": "two"}], "count": 2}
ROWS = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}]
SYNCS: tuple[Sync, ...] = ("crdt", "patch")


def put(room: Room, who: Participant, path: str, value: Any, **more: Any) -> dict[str, Any]:
    return room.ask(
        who, "propose", **{"base": room.revision, "region": {"path": path}, "edit": {"value": value}, **more}
    )


@pytest.mark.parametrize("sync", SYNCS)
@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("/title", "ferns", {**DOCUMENT, "title": "ferns"}),
        ("/new", None, {**DOCUMENT, "new": None}),
        ("/parts/1/text", "2 🌴", {**DOCUMENT, "parts": [DOCUMENT["parts"][0], {"n": 2, "text": "2 🌴"}]}),  # type: ignore[index]
        ("/parts/-", 7, {**DOCUMENT, "parts": [*DOCUMENT["parts"], 7]}),  # type: ignore[misc]
    ],
)
def test_an_edit_of_a_path_changes_that_place(sync: Sync, path: str, value: Any, expected: Any) -> None:
    room = Room(DOCUMENT, "json", sync)
    put(room, ANNA, path, value)
    assert room.value == expected


@pytest.mark.parametrize("path", ["/none/deep", "/parts/9", "/parts/x", "/title/0", "/parts/01"])
def test_an_edit_of_a_path_that_cannot_be_is_refused(path: str) -> None:
    room = Room(DOCUMENT, "json")
    with pytest.raises(ChangeError):
        put(room, ANNA, path, 1)
    with pytest.raises(ChangeError):
        room.ask(REVIEWER, "note", type="comment", text="x", anchor={"region": {"path": path}})
    assert room.revision == 1


def test_edits_of_different_cells_merge_and_say_so() -> None:
    room = Room(ROWS, "table")
    base = room.revision
    put(room, BOB, "/1/name", "B")
    answer = put(room, ANNA, "/1/id", 22, base=base)
    assert (answer["stale"], answer["merged"]) == (True, True) and answer["diff"]
    assert room.value[1] == {"id": 22, "name": "B"}


def test_rows_that_others_insert_do_not_get_in_the_way() -> None:
    room = Room(ROWS, "table")
    base = room.revision
    room.ask(BOB, "propose", base=base, edit=[{"op": "add", "path": "/0", "value": {"id": 0, "name": "z"}}])
    put(room, ANNA, "/1/name", "B", base=base)
    assert [row["name"] for row in room.value] == ["z", "a", "B", "c"]


@pytest.mark.parametrize(
    ("bobs", "annas", "title", "status", "winner"),
    [
        ("docs", "security", "anna", "priority", "theirs"),
        ("security", "docs", "bob", "priority", "ours"),
        ("fix", "fix", "bob", "open", None),
    ],
)
def test_edits_of_one_place_go_by_priority(bobs: str, annas: str, title: str, status: str, winner: str | None) -> None:
    room = Room(DOCUMENT, "json")
    base = room.revision
    put(room, BOB, "/title", "bob", intent=bobs)
    answer = put(room, ANNA, "/title", "anna", base=base, intent=annas)
    assert room.value["title"] == title
    assert (answer["conflict"]["status"], answer["conflict"]["winner"]) == (status, winner)
    record = next(entry for entry in room.log if entry.kind == "conflict").content
    assert (record["ours"]["value"], record["theirs"]["value"]) == ("bob", "anna")
    assert record["region"] == {"path": "/title"}


@pytest.mark.parametrize(
    ("choice", "name"), [("ours", "bob"), ("theirs", "anna"), ({"edit": {"value": "both"}}, "both")]
)
def test_a_conflict_is_decided_where_its_row_is_by_then(choice: Any, name: str) -> None:
    room = Room(ROWS, "table")
    base = room.revision
    put(room, BOB, "/1/name", "bob")
    conflict = put(room, ANNA, "/1/name", "anna", base=base)["conflict"]["id"]
    room.ask(BOB, "propose", base=room.revision, edit=[{"op": "add", "path": "/0", "value": {"id": 0, "name": "z"}}])
    room.ask(EVA, "decide", conflict=conflict, choice=choice)
    assert [row["name"] for row in room.value] == ["z", "a", name, "c"]


def test_a_removed_place_is_a_side_of_a_conflict() -> None:
    room = Room(DOCUMENT, "json")
    base = room.revision
    put(room, BOB, "/title", "bob")
    answer = room.ask(ANNA, "propose", base=base, region={"path": "/title"}, edit=None)
    (conflict,) = room.show()["conflicts"]
    assert "value" not in conflict["theirs"] and conflict["ours"]["value"] == "bob"
    room.ask(EVA, "decide", conflict=answer["conflict"]["id"], choice="theirs")
    assert "title" not in room.value


@pytest.mark.parametrize("sync", SYNCS)
def test_undo_takes_back_the_places_that_one_participant_changed(sync: Sync) -> None:
    room = Room(DOCUMENT, "json", sync)
    put(room, ANNA, "/title", "anna")
    put(room, BOB, "/count", 99)
    put(room, ANNA, "/parts/0/text", "uno")
    put(room, ANNA, "/new", True)
    answer = room.ask(EVA, "undo", participant="anna")
    room.ask(EVA, "accept", proposal=answer["proposal"])
    assert room.value == {**DOCUMENT, "count": 99}
    with pytest.raises(ChangeError, match="nothing"):
        room.ask(EVA, "undo", participant="anna")


@pytest.mark.parametrize("sync", SYNCS)
def test_undo_leaves_what_somebody_else_changed_later(sync: Sync) -> None:
    room = Room(DOCUMENT, "json", sync)
    put(room, ANNA, "/title", "anna")
    put(room, ANNA, "/count", 0)
    put(room, BOB, "/title", "bob")
    room.ask(EVA, "accept", proposal=room.ask(EVA, "undo", participant="anna")["proposal"])
    assert room.value == {**DOCUMENT, "title": "bob"}


@pytest.mark.parametrize("sync", SYNCS)
def test_undo_removes_rows_and_brings_rows_back(sync: Sync) -> None:
    room = Room(ROWS, "table", sync)
    room.ask(ANNA, "propose", base=room.revision, edit=[{"op": "add", "path": "/1", "value": {"id": 9}}])
    room.ask(ANNA, "propose", base=room.revision, edit=[{"op": "remove", "path": "/3"}])
    put(room, BOB, "/0/name", "bob")
    room.ask(EVA, "accept", proposal=room.ask(EVA, "undo", participant="anna")["proposal"])
    assert room.value == [{"id": 1, "name": "bob"}, *ROWS[1:]]


@pytest.mark.parametrize("sync", SYNCS)
def test_crdt_reports_a_stale_base_and_merges_if_it_is_asked_to(sync: Sync) -> None:
    room = Room(DOCUMENT, "json", sync)
    base = room.revision
    put(room, BOB, "/title", "bob")
    with pytest.raises(StaleBaseError):
        put(room, ANNA, "/count", 3, base=base, stale="report")
    assert put(room, ANNA, "/count", 3, base=base, stale="merge")["merged"] is True
    assert room.value == {**DOCUMENT, "title": "bob", "count": 3}


@pytest.mark.parametrize("sync", SYNCS)
@pytest.mark.parametrize(
    ("leased", "edited", "blocked"),
    [
        ("/1", "/1/name", True),
        ("/1/name", "/1", True),
        ("/1", "/1", True),
        ("/1/name", "/1/id", False),
        ("/1", "/2/name", False),
        ("", "/2/name", True),
    ],
)
def test_a_leased_path_blocks_what_is_at_it_below_it_and_above_it(
    sync: Sync, leased: str, edited: str, blocked: bool
) -> None:
    room = Room(ROWS, "table", sync, {"leases": "block"})
    room.ask(BOB, "lease", region={"path": leased})
    value: Any = 5 if edited.count("/") == 2 else {"id": 5}
    if blocked:
        with pytest.raises(RegionLeasedError):
            put(room, ANNA, edited, value)
    else:
        put(room, ANNA, edited, value)


@pytest.mark.parametrize("sync", SYNCS)
@pytest.mark.parametrize(
    ("patch", "path", "detached"),
    [
        ([{"op": "add", "path": "/0", "value": {"id": 0}}], "/2/name", False),
        ([{"op": "add", "path": "/2", "value": {"id": 0}}], "/1/name", False),
        ([{"op": "remove", "path": "/0"}], "/0/name", False),
        ([{"op": "replace", "path": "/1/name", "value": "new"}], "/1/name", False),
        ([{"op": "replace", "path": "/1", "value": {"id": 5, "name": "b"}}], "/1/name", False),
        ([{"op": "remove", "path": "/1/name"}], "/1", True),
        ([{"op": "remove", "path": "/1"}], "", True),
    ],
)
def test_an_anchor_follows_its_cell(sync: Sync, patch: Any, path: str, detached: bool) -> None:
    room = Room(ROWS, "table", sync)
    room.ask(REVIEWER, "note", type="question", text="Why?", anchor={"region": {"path": "/1/name"}})
    room.ask(ANNA, "propose", base=room.revision, edit=patch)
    anchor = room.show()["notes"][0]["anchor"]
    assert (anchor["region"], anchor["detached"], anchor["quote"]) == ({"path": path}, detached, '"b"')


@pytest.mark.parametrize(("kind", "value"), [("json", {"3": 1, "5": 2}), ("table", ROWS)])
def test_digits_as_names_of_members_are_no_positions(kind: ArtifactKind, value: Any) -> None:
    room = Room(value, kind)
    path = "/5" if kind == "json" else "/2"
    room.ask(REVIEWER, "note", type="comment", text="x", anchor={"region": {"path": path}})
    if kind == "json":
        room.ask(ANNA, "propose", base=room.revision, edit=[{"op": "add", "path": "/4", "value": 1}])
    assert room.show()["notes"][0]["anchor"]["region"] == {"path": path}
