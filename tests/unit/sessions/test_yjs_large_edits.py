"""An edit of very many pieces becomes one: yrs would take minutes for it, and a bridge serves nobody meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import MonkeyPatch

from broker_plane.errors import TooLargeError
from broker_plane.sessions.replicas import yjs_texts, yjs_trees
from broker_plane.sessions.replicas.yjs_documents import MOST_PLAIN
from broker_plane.sessions.replicas.yjs_texts import YjsText
from broker_plane.wire.yjs_updates import read_update
from tests.unit.sessions.rooms import ANNA, Room

_PIECES = 9_000


def test_an_edit_at_thousands_of_places_of_a_text_is_one_insertion() -> None:
    room = Room("a\n" * _PIECES, sync="crdt")
    wanted = "a\nb\n" * _PIECES
    room.edit(ANNA, wanted)
    assert room.value == wanted
    assert len(read_update(room.log[-1].change).structs) < 10


@pytest.mark.parametrize("edit", ["patch", "value"])
def test_an_edit_of_thousands_of_values_replaces_them_together(edit: str, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(yjs_trees, "MOST_PIECES", 200)
    wanted = {"list": [number % 2 for number in range(900)]}
    patch = [{"op": "replace", "path": f"/list/{number}", "value": 1} for number in range(1, 900, 2)]
    room = Room({"list": [0] * 900}, "json", "crdt")
    room.ask(ANNA, "propose", base=1, edit={"patch": patch} if edit == "patch" else {"value": wanted})
    assert room.value == wanted
    assert len(read_update(room.log[-1].change).structs) < 10


@given(st.text("ab\n🌴", max_size=40), st.text("ab\n🌴", max_size=40))
def test_one_replacement_leads_to_the_same_text(old: str, new: str) -> None:
    with MonkeyPatch.context() as patched:
        patched.setattr(yjs_texts, "MOST_PIECES", 0)
        replica = YjsText.new(old)
        change = replica.change_to(new)
        if change is not None:
            replica.apply(change)
        assert replica.value == new


def test_a_list_that_yrs_would_take_minutes_to_insert_is_refused() -> None:
    with pytest.raises(TooLargeError, match="several edits"):
        Room({"list": [0] * (MOST_PLAIN + 1)}, "json", "crdt")
    room = Room({"list": []}, "json", "crdt")
    with pytest.raises(TooLargeError):
        room.ask(ANNA, "propose", base=1, edit={"value": {"list": [[0, 1]] * MOST_PLAIN}})
    assert room.value == {"list": []}
