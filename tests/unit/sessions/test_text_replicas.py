"""Replicas of texts: those of `ot` and `patch`, and the documents of `crdt`."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.errors import ChangeError, TooLargeError, WireError
from broker_plane.sessions.edits import edit_change
from broker_plane.sessions.replicas.factory import new_replica, unpack
from broker_plane.sessions.replicas.port import Movable, Sync
from broker_plane.sessions.text_ops import apply, carry
from tests.examples import examples
from tests.unit.sessions.texts import TEXTS

SYNCS: tuple[Sync, ...] = ("crdt", "ot", "patch")
LIMIT = 1 << 20


def text_replica(sync: Sync, value: str) -> Movable:
    return cast(Movable, new_replica("text", sync, value))


@pytest.mark.parametrize("sync", SYNCS)
@settings(deadline=None, max_examples=examples(0.4))
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_changes_of_one_replica_lead_another_one_to_the_same_bytes(sync: Sync, texts: list[str]) -> None:
    author, reader = text_replica(sync, texts[0]), text_replica(sync, texts[0])
    assert author.pack() == reader.pack()
    for text in texts[1:]:
        if (change := author.change_to(text)) is None:
            assert author.value == text
            continue
        author.change_to("never stored")
        assert apply(author.moved(change), author.value) == text
        for replica in (author, reader):
            replica.check(change, LIMIT)
            replica.apply(change)
            assert replica.value == text
    assert author.pack() == reader.pack() == author.copy().pack() == unpack("text", sync, reader.pack()).pack()


@pytest.mark.parametrize("sync", SYNCS)
def test_a_check_changes_nothing_and_a_copy_goes_its_own_way(sync: Sync) -> None:
    replica = text_replica(sync, "a🌴b")
    before = replica.pack()
    change = replica.change_to("a🌵b")
    replica.check(change, LIMIT)
    replica.moved(change)
    other = replica.copy()
    other.apply(change)
    assert (replica.pack(), replica.value, other.value) == (before, "a🌴b", "a🌵b")


@pytest.mark.parametrize("sync", SYNCS)
def test_an_edit_of_a_region_becomes_a_small_change(sync: Sync) -> None:
    replica = text_replica(sync, "é🌴 " * 2000)
    change = replica.change_for(edit_change("text", replica.value, {"start": 3001, "end": 3002}, {"text": "🌵🎼"}))
    assert len(str(change)) < 400
    moved = replica.moved(change)
    replica.apply(change)
    assert replica.value[3000:3004] == "é🌵🎼 "
    assert [carry(moved, at) for at in (3000, 3002, 5000)] == [3000, 3003, 5001]


@pytest.mark.parametrize("sync", SYNCS)
def test_a_change_that_makes_the_document_too_large_is_refused(sync: Sync) -> None:
    replica = text_replica(sync, "x" * 1000)
    change = replica.change_for([1000, "🌴" * 10])
    replica.check(change, replica.size + 100)
    with pytest.raises(TooLargeError, match="this session allows"):
        replica.check(change, replica.size + 5)
    assert replica.value == "x" * 1000


@pytest.mark.parametrize("sync", SYNCS)
@pytest.mark.parametrize("change", [None, "text", b"\xff\xff", [[1]], [5000, "x"], [{"d": "nothing"}]])
def test_a_change_that_does_not_fit_is_refused_and_changes_nothing(sync: Sync, change: object) -> None:
    replica = text_replica(sync, "text")
    before = replica.pack()
    for use in (lambda: replica.check(change, LIMIT), lambda: replica.apply(change), lambda: replica.moved(change)):
        with pytest.raises(ChangeError):
            use()
    assert (replica.pack(), replica.value) == (before, "text")


def test_a_pair_that_does_not_exist_is_refused() -> None:
    with pytest.raises(WireError, match="ot is for texts"):
        new_replica("table", "ot", [])
    with pytest.raises(WireError, match="text, json or table"):
        new_replica("picture", "crdt", "")  # type: ignore[arg-type]
    with pytest.raises(WireError, match="crdt, patch or ot"):
        new_replica("text", "gossip", "")  # type: ignore[arg-type]
    with pytest.raises(ChangeError, match="a text"):
        new_replica("text", "crdt", {})


@pytest.mark.parametrize("sync", SYNCS)
def test_a_damaged_snapshot_is_refused(sync: Sync) -> None:
    with pytest.raises(WireError, match="damaged"):
        unpack("text", sync, b"\xff\xfe\xfd")
