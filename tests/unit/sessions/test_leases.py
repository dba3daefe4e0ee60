"""Leases: they are seen, they advise or block, and they end."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import ChangeError, ForbiddenError, RegionLeasedError, SessionError, TooLargeError
from broker_plane.sessions.participants import OWNER
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.sessions.replicas.port import Sync
from tests.unit.sessions.rooms import ANNA, BOB, Room

TEXT = "one two three"
BLOCK = {"leases": "block"}
SYNCS: tuple[Sync, ...] = ("crdt", "ot", "patch")


def leased(room: Room, start: int = 4, end: int = 7, seconds: int = 30) -> str:
    return str(room.ask(BOB, "lease", region={"start": start, "end": end}, seconds=seconds)["lease"])


def test_a_region_under_edit_is_visible_before_somebody_rewrites_it() -> None:
    room = Room(TEXT)
    lease = leased(room)
    (shown,) = room.show(ANNA)["leases"]
    assert (shown["lease"], shown["participant"], shown["region"]) == (lease, BOB.id, {"start": 4, "end": 7})
    assert shown["until"] == room.now + 30


def test_a_lease_that_advises_warns_and_lets_the_edit_through() -> None:
    room = Room(TEXT)
    leased(room)
    assert BOB.id in room.edit(ANNA, "2", 4, 7)["warning"]
    assert room.value == "one 2 three"


def test_an_edit_elsewhere_and_ones_own_carry_no_warning() -> None:
    room = Room(TEXT)
    leased(room)
    assert "warning" not in room.edit(ANNA, "1", 0, 3)
    assert "warning" not in room.edit(BOB, "2", 2, 5)


@pytest.mark.parametrize("sync", SYNCS)
def test_a_lease_that_blocks_refuses_the_edit_and_says_how_long(sync: Sync) -> None:
    room = Room(TEXT, sync=sync, policy=BLOCK)
    leased(room)
    with pytest.raises(RegionLeasedError, match=BOB.id) as caught:
        room.edit(ANNA, "2", 4, 7)
    assert caught.value.retry_after is not None and 0 < caught.value.retry_after <= 30
    room.edit(ANNA, "1", 0, 3)
    assert room.value == "1 two three"


def test_an_update_of_yjs_is_blocked_as_well() -> None:
    room = Room(TEXT, sync="crdt", policy=BLOCK)
    leased(room)
    inside = new_replica("text", "crdt", TEXT).change_to("one tWo three")
    with pytest.raises(RegionLeasedError):
        room.ask(ANNA, "update", change=inside)
    room.ask(ANNA, "update", change=new_replica("text", "crdt", TEXT).change_to("One two three"))
    assert room.value == "One two three"


@pytest.mark.parametrize(("do", "members"), [("rollback", {"to": 1}), ("lease", {"region": {"start": 0, "end": 5}})])
def test_what_blocks_edits_blocks_rollbacks_and_other_leases(do: str, members: dict[str, Any]) -> None:
    room = Room(TEXT, policy=BLOCK)
    room.edit(ANNA, "2", 4, 7)
    leased(room, 4, 5)
    with pytest.raises(RegionLeasedError):
        room.ask(ANNA, do, **members)


def test_a_lease_of_the_whole_artifact_is_touched_by_every_edit() -> None:
    room = Room(TEXT, policy=BLOCK)
    room.ask(BOB, "lease")
    with pytest.raises(RegionLeasedError, match="whole artifact"):
        room.edit(ANNA, "x", 13, 13)


def test_a_lease_ends_by_itself() -> None:
    room = Room(TEXT, policy=BLOCK)
    leased(room, seconds=5)
    room.now += 5
    room.edit(ANNA, "2", 4, 7)
    assert room.show()["leases"] == [] and not room.folded.state.leases


def test_a_participant_that_leaves_releases_what_it_held() -> None:
    room = Room(TEXT, policy=BLOCK)
    leased(room)
    room.ask(BOB, "leave")
    room.edit(ANNA, "2", 4, 7)
    assert room.show()["leases"] == []


def test_a_lease_is_released_by_its_holder_or_the_owner() -> None:
    room = Room(TEXT, policy=BLOCK)
    lease = leased(room)
    with pytest.raises(ForbiddenError, match="another participant"):
        room.ask(ANNA, "release", lease=lease)
    assert room.ask(BOB, "release", lease=lease) == {}
    with pytest.raises(SessionError, match=lease):
        room.ask(BOB, "release", lease=lease)
    room.ask(OWNER, "release", lease=leased(room))
    assert room.show()["leases"] == []


def test_presence_renews_leases_and_is_not_in_the_log() -> None:
    room = Room(TEXT)
    lease = leased(room)
    known = room.revision
    decision = room.decide(BOB, "present", at={"cursor": 3}, state={"colour": "red"})
    assert decision.drafts == ()
    assert decision.presence == {"id": BOB.id, "name": "bob", "at": {"cursor": 3}, "state": {"colour": "red"}}
    room.now += 20
    room.ask(BOB, "present")
    assert [entry.kind for entry in room.log[known:]] == ["leased"]
    (shown,) = room.show()["leases"]
    assert (shown["lease"], shown["until"]) == (lease, room.now + 30)


def test_text_that_its_holder_adds_at_the_end_belongs_to_the_lease() -> None:
    room = Room(TEXT)
    leased(room)
    room.edit(BOB, "!!", 7, 7)
    assert room.show()["leases"][0]["region"] == {"start": 4, "end": 9}


def test_a_lease_has_to_be_of_a_region_of_the_artifact() -> None:
    with pytest.raises(ChangeError):
        leased(Room(TEXT), 0, 99)


def test_a_participant_holds_a_limited_number_of_leases() -> None:
    room = Room(TEXT)
    for _ in range(16):
        leased(room)
    with pytest.raises(TooLargeError, match="16"):
        leased(room)
