"""A Yjs client id belongs to the participant who used it first: nobody can take its next insertions away."""

from __future__ import annotations

from base64 import b64encode

import pytest
from pycrdt import Doc, Text

from broker_plane.errors import ForbiddenError
from broker_plane.sessions.folded import Folded, pack_state, unpack_state
from broker_plane.sessions.participants import Participant
from tests.unit.sessions.rooms import Room

ANNA = Participant("anna-aaaaaa", "anna", "editor")
EVE = Participant("eve-eeeeee", "eve", "editor")


def _insert(room: Room, client: int, text: str) -> str:
    """The update of a client that inserts at the start of the room's artifact."""
    doc: Doc[Text] = Doc(client_id=client)
    artifact = doc.get("artifact", type=Text)
    doc.apply_update(room.folded.replica.pack())
    before = doc.get_state()
    artifact.insert(0, text)
    return b64encode(doc.get_update(before)).decode()


def test_an_editor_cannot_insert_with_the_client_id_of_another_one() -> None:
    room = Room("Hello", sync="crdt")
    room.ask(ANNA, "update", change=_insert(room, 7, "a"))
    forged, own = _insert(room, 7, "FORGED"), _insert(room, 7, "b")
    with pytest.raises(ForbiddenError, match="client id 7"):
        room.ask(EVE, "update", change=forged)
    room.ask(ANNA, "update", change=own)
    assert room.value == "baHello"


def test_a_repeated_insertion_of_another_client_is_no_forgery() -> None:
    room = Room("Hello", sync="crdt")
    update = _insert(room, 7, "a")
    room.ask(ANNA, "update", change=update)
    room.ask(EVE, "update", change=update)
    assert room.value == "aHello"


def test_who_has_left_gives_its_client_id_back_unless_its_name_is_verified() -> None:
    room = Room("Hello", sync="crdt")
    verified = Participant("bob-bbbbbb", "bob", "editor", verified=True)
    for who, client in ((ANNA, 7), (verified, 8)):
        room.ask(who, "update", change=_insert(room, client, "a"))
        room.ask(who, "leave")
    room.ask(EVE, "update", change=_insert(room, 7, "b"))
    with pytest.raises(ForbiddenError):
        room.ask(EVE, "update", change=_insert(room, 8, "c"))
    renewed = Participant("bob-cccccc", "bob", "editor", verified=True)
    room.ask(renewed, "update", change=_insert(room, 8, "c"))
    assert room.value == "cbaaHello"


def test_snapshots_keep_whose_client_ids_are() -> None:
    room = Room("Hello", sync="crdt")
    room.ask(ANNA, "update", change=_insert(room, 7, "a"))
    assert unpack_state(pack_state(room.folded)).state == Folded.of(room.log).state
    assert room.folded.state.clients == {7: ANNA.id}
