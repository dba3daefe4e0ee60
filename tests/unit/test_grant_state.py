"""The transitions of a counted grant."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker_plane.errors import GrantInUseError, GrantUsedError, LeaseLostError
from broker_plane.plane.grant_state import (
    CLAIMS_A_USE,
    LEASE_SECONDS,
    GrantState,
    claim,
    finish,
    pack_state,
    release,
    renew,
    unpack_state,
)


def test_a_finished_use_is_used() -> None:
    state = finish(claim(GrantState(), 1, "alice", "l1", 0), "l1", 1)
    with pytest.raises(GrantUsedError):
        claim(state, 1, "bob", "l2", 1)


def test_a_use_that_another_holds_is_in_use_and_says_for_how_long() -> None:
    state = claim(GrantState(), 1, "alice", "l1", 100)
    with pytest.raises(GrantInUseError) as refused:
        claim(state, 1, "bob", "l2", 110)
    assert refused.value.retry_after == pytest.approx(LEASE_SECONDS - 10)


def test_the_same_asker_takes_its_own_lease_back_at_once() -> None:
    state = claim(claim(GrantState(), 1, "alice", "l1", 0), 1, "alice", "l2", 1)
    assert list(state.leases) == ["l2"]


def test_a_lease_that_nobody_renews_returns() -> None:
    state = claim(GrantState(), 1, "alice", "l1", 0)
    assert "l2" in claim(state, 1, "bob", "l2", LEASE_SECONDS).leases
    renewed = renew(state, "l1", "alice", LEASE_SECONDS - 1)
    with pytest.raises(GrantInUseError):
        claim(renewed, 1, "bob", "l2", LEASE_SECONDS + 1)


def test_nobody_renews_or_finishes_for_another() -> None:
    state = claim(GrantState(), 1, "alice", "l1", 0)
    with pytest.raises(LeaseLostError):
        renew(state, "l1", "mallory", 1)
    with pytest.raises(LeaseLostError):
        finish(state, "made-up", 1)


def test_a_second_finish_counts_nothing() -> None:
    state = finish(claim(GrantState(), 2, "alice", "l1", 0), "l1", 2)
    assert finish(state, "l1", 2) == state


def test_three_deliveries_that_are_never_finished_use_a_grant_up() -> None:
    state = GrantState()
    for number in range(CLAIMS_A_USE):
        state = claim(state, 1, f"asker{number}", f"l{number}", number * LEASE_SECONDS)
    with pytest.raises(GrantUsedError):
        claim(state, 1, "last", "l9", 10 * LEASE_SECONDS)


def test_two_hundred_cut_deliveries_of_one_hundredth_each_leave_the_use() -> None:
    state = GrantState()
    for number in range(200):
        state = release(claim(state, 1, f"asker{number}", f"l{number}", 0), f"l{number}", 0.01)
    assert "fresh" in claim(state, 1, "alice", "fresh", 0).leases


def test_state_that_is_stored_comes_back() -> None:
    state = finish(claim(claim(GrantState(), 3, "a", "l1", 5), 3, "b", "l2", 6), "l1", 3)
    assert unpack_state(pack_state({"": state})) == {"": state}
    assert unpack_state(pack_state({"": state, "c0": GrantState(done=1)})) == {"": state, "c0": GrantState(done=1)}


class Races(RuleBasedStateMachine):
    """Any order of claims, ends and time: never more deliveries than uses, never more leases than are left."""

    uses = 2

    def __init__(self) -> None:
        super().__init__()
        self.state = GrantState()
        self.now = 0.0
        self.count = 0
        self.confirmed: set[str] = set()
        self.known: list[str] = []

    @rule(asker=st.sampled_from("abc"))
    def claims(self, asker: str) -> None:
        self.count += 1
        lease = f"l{self.count}"
        try:
            self.state = claim(self.state, self.uses, asker, lease, self.now)
        except (GrantUsedError, GrantInUseError):
            return
        self.known.append(lease)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def finishes(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.known))
        try:
            self.state = finish(self.state, lease, self.uses)
        except LeaseLostError:
            return
        self.confirmed.add(lease)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), sent=st.floats(0, 1))
    def releases(self, data: st.DataObject, sent: float) -> None:
        self.state = release(self.state, data.draw(st.sampled_from(self.known)), sent)

    @rule(seconds=st.floats(0, 40))
    def waits(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def never_more_than_its_uses(self) -> None:
        assert self.state.done <= self.uses
        assert len(self.confirmed) <= self.uses
        assert self.state.done + len(self.state.leases) <= self.uses


Races.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestRaces = Races.TestCase


def test_who_asks_again_for_the_same_pull_has_the_same_lease_and_after_its_end_none() -> None:
    state = claim(GrantState(), 2, "alice", "lease", 0.0)
    assert claim(state, 2, "alice", "lease", 1.0) == state
    ended = finish(state, "lease", 2)
    with pytest.raises(LeaseLostError):
        claim(ended, 2, "alice", "lease", 2.0)


def test_a_lease_with_much_time_left_is_renewed_without_a_change() -> None:
    state = claim(GrantState(), 1, "alice", "lease", 0.0)
    assert renew(state, "lease", "alice", 9.0) == state
    assert renew(state, "lease", "alice", 11.0).leases["lease"].until == 11.0 + LEASE_SECONDS
