"""The transitions of a counted grant."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker_plane.errors import ForbiddenError, GrantInUseError, GrantRefusedError, GrantUsedError, LeaseLostError
from broker_plane.plane.grants.state import (
    CLAIMS_A_USE,
    LEASE_SECONDS,
    TABLE,
    GrantState,
    Holder,
    LeaseAct,
    LeaseEffect,
    LeaseStanding,
    claim,
    closing,
    finish,
    pack_state,
    pay,
    preview,
    release,
    renew,
    unpack_state,
)
from broker_plane.wire.grant import Counter
from tests.examples import examples

ALICE, BOB, MALLORY = Holder("alice", "t1"), Holder("bob", "t1"), Holder("mallory", "t1")


def test_the_table_has_every_act_on_every_standing() -> None:
    assert set(TABLE) == set(itertools.product(LeaseStanding, LeaseAct))


def test_the_documentation_has_the_same_table() -> None:
    lines = Path("docs/grants.md").read_text().splitlines()
    acts = next(line for line in lines if line.startswith("| the lease is"))
    names = [cell.strip() for cell in acts.strip("|").split("|")][1:]
    for standing in LeaseStanding:
        row = next(line for line in lines if line.startswith(f"| *{standing.value}*"))
        cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
        assert {LeaseAct(act): LeaseEffect(cell) for act, cell in zip(names, cells, strict=True)} == {
            act: TABLE[standing, act] for act in LeaseAct
        }


def test_a_finished_use_is_used() -> None:
    state = finish(claim(GrantState(), 1, ALICE, "l1", 0), "l1", ALICE, 1)
    with pytest.raises(GrantUsedError):
        claim(state, 1, BOB, "l2", 1)


def test_a_use_that_another_holds_is_in_use_and_says_for_how_long() -> None:
    state = claim(GrantState(), 1, ALICE, "l1", 100)
    with pytest.raises(GrantInUseError) as refused:
        claim(state, 1, BOB, "l2", 110)
    assert refused.value.retry_after == pytest.approx(LEASE_SECONDS - 10)


def test_the_same_asker_takes_its_own_lease_back_at_once() -> None:
    state = claim(claim(GrantState(), 1, ALICE, "l1", 0), 1, ALICE, "l2", 1)
    assert list(state.leases) == ["l2"]


def test_a_lease_that_nobody_renews_returns() -> None:
    state = claim(GrantState(), 1, ALICE, "l1", 0)
    assert "l2" in claim(state, 1, BOB, "l2", LEASE_SECONDS).leases
    renewed = renew(state, "l1", ALICE, LEASE_SECONDS - 1)
    with pytest.raises(GrantInUseError):
        claim(renewed, 1, BOB, "l2", LEASE_SECONDS + 1)


FOREIGN = [
    MALLORY,
    Holder("alice", "t2"),
    Holder("alice", ""),
    Holder("", "t1"),
    Holder("ali", "t1"),
    Holder("alice/x", "t1"),
    Holder("Alice", "t1"),
    Holder("http:", "t1"),
    Holder("page:/alice", "t1"),
    Holder("alice/t1", "t1"),
]


@pytest.mark.parametrize("holder", FOREIGN, ids=repr)
def test_nobody_pays_renews_settles_or_claims_by_anothers_lease(holder: Holder) -> None:
    state = claim(GrantState(), 1, ALICE, "l1", 0)
    with pytest.raises(LeaseLostError):
        renew(state, "l1", holder, 1)
    with pytest.raises(LeaseLostError):
        pay(state, 1, holder, "l1", 0.1, 1)
    with pytest.raises(LeaseLostError):
        finish(state, "l1", holder, 1)
    with pytest.raises(LeaseLostError):
        claim(state, 1, holder, "l1", 1)
    assert release(state, "l1", holder) == state
    for over in (release(state, "l1", ALICE), finish(state, "l1", ALICE, 1)):
        with pytest.raises(LeaseLostError):
            finish(over, "l1", holder, 1)


@pytest.mark.parametrize("lease", ["", "made-up", "L1", "l1 ", "l1\0", "l" * 64])
def test_a_lease_that_the_plane_never_gave_does_nothing(lease: str) -> None:
    state = claim(GrantState(), 2, ALICE, "l1", 0)
    with pytest.raises(LeaseLostError):
        renew(state, lease, ALICE, 1)
    with pytest.raises(LeaseLostError):
        pay(state, 2, ALICE, lease, 0.1, 1)
    with pytest.raises(LeaseLostError):
        finish(state, lease, ALICE, 2)
    assert release(state, lease, ALICE) == state


def test_an_asker_settles_for_its_processes() -> None:
    state = claim(GrantState(), 1, Holder("alice/p1", "t1"), "l1", 0)
    assert finish(state, "l1", ALICE, 1).done == 1


def test_a_second_finish_counts_nothing_and_a_release_after_it_frees_nothing() -> None:
    state = finish(claim(GrantState(), 2, ALICE, "l1", 0), "l1", ALICE, 2)
    assert finish(state, "l1", ALICE, 2) == state
    assert release(state, "l1", ALICE) == state


def test_a_delivery_that_lapsed_counts_while_its_use_is_free() -> None:
    state = claim(claim(GrantState(), 1, ALICE, "l1", 0), 1, BOB, "l2", LEASE_SECONDS)
    with pytest.raises(LeaseLostError):
        finish(state, "l1", ALICE, 1)
    assert finish(release(state, "l2", BOB), "l1", ALICE, 1).done == 1


def test_a_delivery_that_its_reader_gave_up_counts_no_more() -> None:
    state = release(claim(GrantState(), 1, ALICE, "l1", 0), "l1", ALICE, final=True)
    with pytest.raises(LeaseLostError):
        finish(state, "l1", ALICE, 1)


def test_three_deliveries_that_are_never_finished_use_a_grant_up() -> None:
    state = GrantState()
    for number in range(CLAIMS_A_USE):
        state = claim(state, 1, Holder(f"asker{number}"), f"l{number}", number * LEASE_SECONDS)
    with pytest.raises(GrantUsedError):
        claim(state, 1, Holder("last"), "l9", 10 * LEASE_SECONDS)


def test_the_error_tells_spent_uses_from_a_spent_budget() -> None:
    delivered = finish(claim(GrantState(), 1, ALICE, "l1", 0), "l1", ALICE, 1)
    with pytest.raises(GrantUsedError, match="is used up: it was for 1 delivery"):
        preview(delivered, 1, 0.01, 2)
    with pytest.raises(GrantUsedError, match="budget is spent, with 0 of 2 deliveries complete: readings"):
        preview(GrantState(spent=6.0), 2, 0.0, 0)
    with pytest.raises(GrantUsedError, match="budget is spent"):
        claim(GrantState(closed=True), 2, ALICE, "l1", 0)


def test_looks_leave_a_delivery_for_every_free_use() -> None:
    state = GrantState()
    for _ in range(400):
        state = preview(state, 2, 0.0, 0)
    with pytest.raises(ForbiddenError, match="2 deliveries can still be pulled"):
        preview(state, 2, 0.0, 0)
    for lease in ("l1", "l2"):
        state = finish(claim(state, 2, ALICE, lease, 0), lease, ALICE, 2)
    assert state.done == 2


def test_two_hundred_cut_deliveries_of_one_hundredth_each_leave_the_use() -> None:
    state = GrantState()
    for number in range(200):
        asker = Holder(f"asker{number}")
        state = release(claim(state, 1, asker, f"l{number}", 0), f"l{number}", asker, 0.01)
    assert "fresh" in claim(state, 1, ALICE, "fresh", 0).leases


def test_windows_that_are_asked_for_again_are_paid_again() -> None:
    state = claim(GrantState(), 1, ALICE, "l1", 0, pay=1.0)
    for _ in range(2):
        state = pay(state, 1, ALICE, "l1", 1.0, 1)
    with pytest.raises(GrantUsedError):
        pay(state, 1, ALICE, "l1", 1.0, 1)
    assert release(state, "l1", ALICE).spent == 3.0


def test_whoever_is_admitted_can_finish() -> None:
    state = GrantState(spent=2.0)
    state = claim(state, 1, ALICE, "l1", 0)
    for _ in range(10):
        state = pay(state, 1, ALICE, "l1", 0.1, 1)
    assert finish(state, "l1", ALICE, 1).done == 1


def test_what_another_has_reserved_is_not_to_be_had() -> None:
    state = claim(GrantState(spent=4.5), 2, ALICE, "l1", 0)
    with pytest.raises(GrantInUseError):
        claim(state, 2, BOB, "l2", 0)
    with pytest.raises(ForbiddenError):
        preview(state, 2, 0.4, 0)
    last = claim(finish(state, "l1", ALICE, 2), 2, BOB, "l2", 0, reserve=0.1)
    with pytest.raises(GrantInUseError):
        preview(last, 2, 0.5, 0)
    assert preview(last, 2, 0.4, 0).spent == pytest.approx(5.9)


def test_a_grant_that_was_refused_as_used_stays_used() -> None:
    chains = {"": GrantState(spent=2.5)}
    closed = closing(chains, [Counter("", 1)], lambda state, each: claim(state, each.uses, ALICE, "l1", 0))[""]
    with pytest.raises(GrantUsedError):
        claim(closed, 1, BOB, "l2", 0, reserve=0.1)
    with pytest.raises(GrantUsedError):
        preview(closed, 1, 0.0, 0)


def test_state_that_is_stored_comes_back() -> None:
    state = finish(claim(claim(GrantState(), 3, ALICE, "l1", 5), 3, BOB, "l2", 6), "l1", ALICE, 3)
    assert unpack_state(pack_state({"": state})) == {"": state}
    assert unpack_state(pack_state({"": state, "c0": GrantState(done=1)})) == {"": state, "c0": GrantState(done=1)}


@pytest.mark.parametrize("cut", range(1, 40))
def test_an_entry_that_was_cut_opens_nothing(cut: int) -> None:
    raw = pack_state({"": claim(GrantState(), 3, ALICE, "l1", 5)})
    with pytest.raises(GrantRefusedError):
        unpack_state(raw[:cut])


@pytest.mark.parametrize("spent", [float("nan"), float("inf"), 1e300])
def test_a_purse_that_is_no_number_pays_for_nothing(spent: float) -> None:
    with pytest.raises(GrantUsedError):
        claim(GrantState(spent=spent), 1, ALICE, "l1", 0)


class Races(RuleBasedStateMachine):
    """Any order of acts by anybody: never more deliveries than uses, nor more bytes than three deliveries a use."""

    uses = 2
    askers = st.sampled_from([ALICE, BOB, MALLORY, Holder("alice", "t2")])
    shares = st.floats(0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.state = GrantState()
        self.now = 0.0
        self.sent = 0.0
        self.used = False
        self.confirmed: set[str] = set()
        self.known = ["made-up"]

    def act(self, transition: Callable[[GrantState], GrantState], sends: float = 0.0) -> bool:
        try:
            self.state = transition(self.state)
        except GrantUsedError:
            self.state = closing({"": self.state}, [Counter("", self.uses)], lambda state, _: transition(state))[""]
            self.used = True
            return False
        except (GrantInUseError, LeaseLostError, ForbiddenError):
            return False
        self.sent += sends
        return True

    @rule(asker=askers, share=shares)
    def claims(self, asker: Holder, share: float) -> None:
        lease = f"l{len(self.known)}"
        was_used = self.used
        if self.act(lambda state: claim(state, self.uses, asker, lease, self.now, pay=share), share):
            assert not was_used
            self.known.append(lease)

    @rule(data=st.data(), asker=askers, share=shares)
    def pays(self, data: st.DataObject, asker: Holder, share: float) -> None:
        lease = data.draw(st.sampled_from(self.known))
        self.act(lambda state: pay(state, self.uses, asker, lease, share, self.now), share)

    @rule(data=st.data(), asker=askers)
    def finishes(self, data: st.DataObject, asker: Holder) -> None:
        lease = data.draw(st.sampled_from(self.known))
        if self.act(lambda state: finish(state, lease, asker, self.uses)):
            self.confirmed.add(lease)

    @rule(data=st.data(), asker=askers)
    def releases(self, data: st.DataObject, asker: Holder) -> None:
        lease = data.draw(st.sampled_from(self.known))
        self.act(lambda state: release(state, lease, asker))

    @rule(share=shares)
    def looks(self, share: float) -> None:
        self.act(lambda state: preview(state, self.uses, share, self.now), share)

    @rule(seconds=st.floats(0, 40))
    def waits(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def what_is_promised_holds(self) -> None:
        assert self.state.done <= self.uses
        assert self.confirmed <= set(self.known) - {"made-up"}
        assert self.state.done + len(self.state.leases) <= self.uses
        assert self.sent <= CLAIMS_A_USE * self.uses + 1e-3


Races.TestCase.settings = settings(max_examples=examples(1), stateful_step_count=30, deadline=None)
TestRaces = Races.TestCase


def test_who_asks_again_for_the_same_pull_has_the_same_lease_and_after_its_end_none() -> None:
    state = claim(GrantState(), 2, ALICE, "lease", 0.0)
    assert list(claim(state, 2, ALICE, "lease", 1.0).leases) == ["lease"]
    ended = finish(state, "lease", ALICE, 2)
    with pytest.raises(LeaseLostError):
        claim(ended, 2, ALICE, "lease", 2.0)


def test_a_lease_with_much_time_left_is_renewed_without_a_change() -> None:
    state = claim(GrantState(), 1, ALICE, "lease", 0.0)
    assert renew(state, "lease", ALICE, 9.0) == state
    assert renew(state, "lease", ALICE, 11.0).leases["lease"].until == 11.0 + LEASE_SECONDS
