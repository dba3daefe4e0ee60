"""Undo of one participant's or one intent's revisions: a proposal, which somebody accepts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.errors import ChangeError, IntentError, SessionError, StaleBaseError
from broker_plane.sessions.closing import reverted
from broker_plane.sessions.replicas.port import Sync
from tests.examples import examples
from tests.unit.sessions.rooms import ANNA, BOB, EVA, Room

SYNCS: tuple[Sync, ...] = ("crdt", "ot", "patch")


def built(sync: Sync) -> Room:
    """Anna writes, Bob writes between, Anna writes again."""
    room = Room("start.", sync=sync)
    room.edit(ANNA, "anna one. ", 0, 0)
    room.edit(BOB, "bob 🌴. ", 0, 0, intent="docs")
    room.edit(ANNA, " anna two.", len(room.value), len(room.value))
    return room


@pytest.mark.parametrize("sync", SYNCS)
@pytest.mark.parametrize("whose", [{"participant": "anna"}, {"participant": ANNA.id}, {"intent": "write"}])
def test_undo_is_a_proposal_without_those_revisions(sync: Sync, whose: dict[str, str]) -> None:
    room = built(sync)
    before = room.value
    answer = room.ask(EVA, "undo", **whose)
    assert room.value == before
    assert "-bob 🌴. anna one. start. anna two." in answer["diff"] and "+bob 🌴. start." in answer["diff"]
    assert [room.log[revision - 1].participant for revision in answer["revisions"]] == [ANNA.id, ANNA.id]
    (proposal,) = room.show()["proposals"]
    assert (proposal["id"], proposal["revisions"]) == (answer["proposal"], answer["revisions"])
    accepted = room.ask(EVA, "accept", proposal=answer["proposal"])
    assert (room.value, accepted["revision"]) == ("bob 🌴. start.", room.revision)
    assert room.show()["proposals"] == []


@pytest.mark.parametrize("sync", SYNCS)
def test_undo_since_a_revision_leaves_what_was_before(sync: Sync) -> None:
    room = built(sync)
    answer = room.ask(EVA, "undo", participant="anna", since=room.revision - 1)
    room.ask(EVA, "accept", proposal=answer["proposal"])
    assert room.value == "bob 🌴. anna one. start."


@pytest.mark.parametrize("sync", SYNCS)
def test_what_others_wrote_into_an_undone_text_stays(sync: Sync) -> None:
    room = Room("", sync=sync)
    room.edit(ANNA, "aaaa", 0, 0)
    room.edit(BOB, "BB", 2, 2)
    room.ask(EVA, "accept", proposal=room.ask(EVA, "undo", participant="anna")["proposal"])
    assert room.value == "BB"


@pytest.mark.parametrize("sync", SYNCS)
def test_a_deletion_is_undone_at_its_place(sync: Sync) -> None:
    room = Room("one two three", sync=sync)
    room.edit(ANNA, None, 4, 8)
    room.edit(BOB, "zero ", 0, 0)
    room.ask(EVA, "accept", proposal=room.ask(EVA, "undo", participant="anna")["proposal"])
    assert room.value == "zero one two three"


@pytest.mark.parametrize("sync", SYNCS)
def test_what_is_undone_is_not_undone_again(sync: Sync) -> None:
    room = built(sync)
    room.ask(EVA, "accept", proposal=room.ask(EVA, "undo", participant="anna")["proposal"])
    with pytest.raises(ChangeError, match="nothing of anna"):
        room.ask(EVA, "undo", participant="anna")


@pytest.mark.parametrize("sync", SYNCS)
def test_what_was_rolled_back_is_not_undone(sync: Sync) -> None:
    room = built(sync)
    end = room.revision
    room.ask(BOB, "rollback", to=1)
    with pytest.raises(ChangeError):
        room.ask(EVA, "undo", participant="anna")
    room.ask(BOB, "rollback", to=end)
    room.ask(EVA, "accept", proposal=room.ask(EVA, "undo", participant="anna")["proposal"])
    assert room.value == "bob 🌴. start."


def test_there_has_to_be_something_to_undo() -> None:
    room = built("patch")
    with pytest.raises(ChangeError, match="nobody"):
        room.ask(EVA, "undo", participant="nobody")
    with pytest.raises(IntentError, match="conquer"):
        room.ask(EVA, "undo", intent="conquer")


@pytest.mark.parametrize("sync", SYNCS)
def test_a_proposal_is_brought_to_the_newest_revision(sync: Sync) -> None:
    room = built(sync)
    proposal = room.ask(EVA, "undo", participant="bob")["proposal"]
    room.edit(ANNA, "!", len(room.value), len(room.value))
    room.ask(EVA, "accept", proposal=proposal)
    assert room.value == "anna one. start. anna two.!"


@pytest.mark.parametrize("sync", ["crdt", "patch"])
def test_a_proposal_that_does_not_fit_any_more_is_stale(sync: Sync) -> None:
    room = Room("one two three", sync=sync)
    room.edit(BOB, "2", 4, 7)
    proposal = room.ask(EVA, "undo", participant="bob")["proposal"]
    room.edit(ANNA, "zwei", 4, 5)
    with pytest.raises(StaleBaseError) as caught:
        room.ask(EVA, "accept", proposal=proposal)
    assert "zwei" in caught.value.diff and room.value == "one zwei three"


def test_a_proposal_is_accepted_once() -> None:
    room = built("ot")
    proposal = room.ask(EVA, "undo", participant="bob")["proposal"]
    room.ask(EVA, "accept", proposal=proposal)
    with pytest.raises(SessionError, match=proposal):
        room.ask(EVA, "accept", proposal=proposal)


_EDITS = st.lists(
    st.tuples(
        st.sampled_from([ANNA, BOB]), st.integers(0, 30), st.text(st.sampled_from("ab 🌴"), min_size=1, max_size=4)
    ),
    min_size=1,
    max_size=10,
)


@pytest.mark.parametrize("sync", SYNCS)
@settings(deadline=None, max_examples=examples(0.3))
@given(edits=_EDITS)
def test_undo_of_one_who_only_inserted_leaves_exactly_the_rest(sync: Sync, edits: Any) -> None:
    """Others' characters are capitals, so that they can be told apart."""
    room = Room("", sync=sync)
    for who, place, text in edits:
        at = place % (len(room.value) + 1)
        room.edit(who, text if who is ANNA else text.replace("🌴", "🎼").replace(" ", "_").upper(), at, at)
    rest = "".join(each for each in room.value if each in "AB_🎼")
    if any(who is ANNA for who, _, _ in edits):
        room.ask(EVA, "accept", proposal=room.ask(EVA, "undo", participant="anna")["proposal"])
    assert room.value == rest


@pytest.mark.parametrize("sync", SYNCS)
def test_undo_reaches_through_a_validators_revert(sync: Sync) -> None:
    room = built(sync)
    before = room.value
    room.edit(BOB, None, 0, len(before))
    room.store(reverted(room.folded, before, "length", "too short", now=room.now))
    assert room.value == before
    room.ask(EVA, "accept", proposal=room.ask(EVA, "undo", participant="anna")["proposal"])
    assert room.value == "bob 🌴. start."


@pytest.mark.parametrize("sync", SYNCS)
def test_undo_of_a_replaced_text_restores_it_beside_what_others_wrote(sync: Sync) -> None:
    room = Room("The old words.", sync=sync)
    room.edit(ANNA, "new", 4, 7)
    room.edit(BOB, "All right: ", 0, 0)
    room.edit(BOB, " Really.", len(room.value), len(room.value))
    room.ask(EVA, "accept", proposal=room.ask(EVA, "undo", participant="anna")["proposal"])
    assert room.value == "All right: The old words. Really."
