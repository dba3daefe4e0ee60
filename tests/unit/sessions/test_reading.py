"""Show, log and diff: what changes nothing."""

from __future__ import annotations

import pytest

from broker_plane.errors import RevisionNotFoundError
from broker_plane.sessions.canonical import sha256
from broker_plane.sessions.replicas.port import Sync
from tests.unit.sessions.rooms import ANNA, OBSERVER, Room, participant

SYNCS: tuple[Sync, ...] = ("crdt", "ot", "patch")


@pytest.mark.parametrize("sync", SYNCS)
def test_every_revision_can_be_shown(sync: Sync) -> None:
    room = Room("a\n", sync=sync)
    values = {1: "a\n"}
    for text in ("b\n", "c 🌴\n"):
        room.edit(ANNA, text)
        room.ask(ANNA, "note", type="comment", text="x")
        values[room.revision] = text
    for revision, value in values.items():
        shown = room.show(OBSERVER, revision=revision)
        assert (shown["value"], shown["sha256"], shown["revision"]) == (value, sha256("text", value), revision)
        assert shown["newest"] == room.revision


def test_reading_adds_nothing_to_the_log() -> None:
    room = Room("a")
    for do, members in (("show", {}), ("log", {}), ("diff", {"from": 1})):
        assert room.decide(OBSERVER, do, **members).drafts == ()


@pytest.mark.parametrize("do", ["show", "rollback"])
@pytest.mark.parametrize("revision", [2, 1000])
def test_a_revision_that_does_not_exist_is_refused(do: str, revision: int) -> None:
    with pytest.raises(RevisionNotFoundError, match=str(revision)):
        Room("a").ask(participant("anna"), do, **{"revision" if do == "show" else "to": revision})


def test_the_log_is_read_in_pages() -> None:
    room = Room("a")
    for text in "bcdef":
        room.edit(ANNA, text)
    first = room.ask(OBSERVER, "log", limit=3)
    rest = room.ask(OBSERVER, "log", after=first["entries"][-1]["revision"])
    assert [each["revision"] for each in first["entries"] + rest["entries"]] == list(range(1, room.revision + 1))
    assert room.ask(OBSERVER, "log", after=room.revision) == {"entries": [], "revision": room.revision}
    assert rest["entries"][-1] == room.log[-1].to_json()


def test_a_diff_shows_what_changed_between_two_revisions() -> None:
    room = Room("one\ntwo\n")
    room.edit(ANNA, "2", 4, 7)
    newest = room.revision
    room.edit(ANNA, "3", 4, 5)
    answer = room.ask(OBSERVER, "diff", **{"from": 1, "to": newest})
    assert "-two" in answer["diff"] and "+2" in answer["diff"] and "3" not in answer["diff"].replace("+3", "x")[4:0]
    assert "+3" in room.ask(OBSERVER, "diff", **{"from": 1})["diff"]
    with pytest.raises(RevisionNotFoundError):
        room.ask(OBSERVER, "diff", **{"from": 1, "to": 99})
