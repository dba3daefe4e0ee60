"""The state of a counted grant, and its transitions as pure functions.

A grant may have several counters: one of its root, and one for each caveat that narrowed its uses, by the caveat's
chain. All counters are in the one entry of the grant id and change in one compare-and-set, each by the same transition.

One delivery has one lease, and a lease is only what the plane wrote. If the entry does not hold the lease that a
request names, for that very holder, the lease is UNKNOWN and has no effect. The life of a lease, as `TABLE` has it:

                claim                       finish
   UNKNOWN ──────────────▶ LIVE ─────────────────────────────▶ COUNTED
       ▲                   │  ▲ pay, renew: 30 s again             ▲
       │ final release     │  └──────────┐                         │ finish, if a use is still free
       └───────────────────┤             │                         │
                           └──────────▶ LAPSED ────────────────────┘
                   release, or 30 s without renewal

    standing   what the entry says of the lease           the requests that act on it
    UNKNOWN    nothing; or it belongs to another holder;  claim: GET, POST, first page, first window
               or its reader reported a failure           pay: each window over NATS, each page
    LIVE       it is not over                             finish: end of a connection, confirm, last page, MCP confirm
    LAPSED     it timed out, or its connection broke      release: broken connection, confirm with a failure
    COUNTED    its delivery is complete

A claim of a LAPSED lease begins it again. `finish` and `release` are idempotent; a renewal is allowed if paying is.

Every byte is paid for before it is sent, by what the plane sends and never by what a reader says. A delivery is worth
what its selection shows. A grant of n uses pays for at most 3n deliveries' worth (docs/decisions/0003), and previews
are paid from the same budget, with at least a hundredth each, but leave a delivery's worth for every free use
(docs/decisions/0005). A claim reserves a delivery's worth, so that a reader that was admitted can finish. A grant that
was once refused as used is *closed*: it stays used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeVar

import msgpack

from broker_plane.errors import (
    ForbiddenError,
    GrantError,
    GrantInUseError,
    GrantRefusedError,
    GrantRevokedError,
    GrantUsedError,
    LeaseLostError,
)
from broker_plane.wire.entry_formats import OLD_STATE, OLD_STATE_OF_CHAINS, REVOKED, STATE, STATE_OF_CHAINS
from broker_plane.wire.grant import Counter

T = TypeVar("T")

LEASE_SECONDS = 30.0
CLAIMS_A_USE = 3
LOOK_SHARE = 0.01
_MUCH = 2 / 3
"""Share of a lease's time: if more than this is left, a renewal is not written, which saves an fsync."""

MOST_CHAINS = 1_024
"""Maximum number of chains of one grant: an entry is rewritten at every change, and any holder can add chains."""

_ROUNDING = 1e-6
"""Tolerance: the parts of a delivery are fractions, and their sum is not exact."""

_REMEMBERED = 32
_REVOKED_BEGINS = bytes([0x92, REVOKED])


class LeaseStanding(Enum):
    """The state of a lease that a request names."""

    UNKNOWN = "unknown"
    LIVE = "live"
    LAPSED = "lapsed"
    COUNTED = "counted"


class LeaseAct(Enum):
    """What a request does with a lease. A preview needs no lease, and a revocation replaces the entry."""

    CLAIM = "claim"
    PAY = "pay"
    FINISH = "finish"
    RELEASE = "release"


class LeaseEffect(Enum):
    """The effect of an act."""

    BEGINS = "begins"
    """A new lease, if a use is free and a delivery's worth is left."""
    PAYS = "pays"
    """More of the delivery may be sent, if the budget allows."""
    COUNTS = "counts"
    """One more delivery is complete."""
    COUNTS_IF_FREE = "counts if free"
    """The same, unless the use went to another reader meanwhile."""
    FREES = "frees"
    """The use is free again; what was sent stays paid."""
    NOTHING = "nothing"
    """The entry does not change, and the answer says so."""
    REFUSED = "refused"
    """The entry does not change, and the answer is LeaseLostError."""


TABLE: Mapping[tuple[LeaseStanding, LeaseAct], LeaseEffect] = {
    (LeaseStanding.UNKNOWN, LeaseAct.CLAIM): LeaseEffect.BEGINS,
    (LeaseStanding.UNKNOWN, LeaseAct.PAY): LeaseEffect.REFUSED,
    (LeaseStanding.UNKNOWN, LeaseAct.FINISH): LeaseEffect.REFUSED,
    (LeaseStanding.UNKNOWN, LeaseAct.RELEASE): LeaseEffect.NOTHING,
    (LeaseStanding.LIVE, LeaseAct.CLAIM): LeaseEffect.PAYS,
    (LeaseStanding.LIVE, LeaseAct.PAY): LeaseEffect.PAYS,
    (LeaseStanding.LIVE, LeaseAct.FINISH): LeaseEffect.COUNTS,
    (LeaseStanding.LIVE, LeaseAct.RELEASE): LeaseEffect.FREES,
    (LeaseStanding.LAPSED, LeaseAct.CLAIM): LeaseEffect.BEGINS,
    (LeaseStanding.LAPSED, LeaseAct.PAY): LeaseEffect.REFUSED,
    (LeaseStanding.LAPSED, LeaseAct.FINISH): LeaseEffect.COUNTS_IF_FREE,
    (LeaseStanding.LAPSED, LeaseAct.RELEASE): LeaseEffect.NOTHING,
    (LeaseStanding.COUNTED, LeaseAct.CLAIM): LeaseEffect.REFUSED,
    (LeaseStanding.COUNTED, LeaseAct.PAY): LeaseEffect.REFUSED,
    (LeaseStanding.COUNTED, LeaseAct.FINISH): LeaseEffect.NOTHING,
    (LeaseStanding.COUNTED, LeaseAct.RELEASE): LeaseEffect.NOTHING,
}
"""The effect of every act on every standing. docs/grants.md has the same table, and a test compares them."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a lease: `asker` names the puller on one transport, `text` identifies the text of its grant.

    If several processes share an asker's name, each claims as `asker/process`; the asker may settle for all of them.
    """

    asker: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.asker}/{self.text}"

    def may_settle(self, holder: str) -> bool:
        """Whether this holder may end a lease of `holder`: same grant text, same asker or one of its processes."""
        asker, _, text = holder.rpartition("/")
        return text == self.text and (asker == self.asker or asker.startswith(f"{self.asker}/"))


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One lease: its holder, and the unix time at which it lapses.

    `reserved` and `paid` are in deliveries' worth: what the delivery may take, and what was sent of it.
    """

    holder: str
    until: float
    reserved: float = 1.0
    paid: float = 0.0

    @property
    def cost(self) -> float:
        """What it takes from the budget until its end is known: a lease that lapses counts as delivered."""
        return max(self.reserved, self.paid)


@dataclass(frozen=True, slots=True)
class GrantState:
    """`done` deliveries are complete, and `spent` deliveries' worth of bytes were sent, not counting live leases.

    `finished` has the most recent leases that count, `lapsed` those that do not, each with its holder. `closed`: a
    request was refused because the grant is used up.
    """

    done: int = 0
    spent: float = 0.0
    leases: dict[str, LeaseRecord] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)
    lapsed: dict[str, str] = field(default_factory=dict)
    closed: bool = False

    def standing(self, lease: str, holder: Holder) -> LeaseStanding:
        """The standing of `lease` for `holder`."""
        if lease in self.leases:
            return LeaseStanding.LIVE if holder.may_settle(self.leases[lease].holder) else LeaseStanding.UNKNOWN
        if lease in self.finished:
            return LeaseStanding.COUNTED if holder.may_settle(self.finished[lease]) else LeaseStanding.UNKNOWN
        return LeaseStanding.LAPSED if holder.may_settle(self.lapsed.get(lease, "")) else LeaseStanding.UNKNOWN

    def fields(self) -> list[Any]:
        leases = {lease: [held.holder, held.until, held.reserved, held.paid] for lease, held in self.leases.items()}
        return [self.done, self.spent, leases, self.finished, self.lapsed, self.closed]


Chains = dict[str, GrantState]
"""The states of one grant id by chain: empty for the root, the caveat's tag for a narrowed counter."""

Transition = Callable[[GrantState, Counter], GrantState]


def pack_state(chains: Chains) -> bytes:
    """The stored entry. If no uses were narrowed, it has no chains."""
    if chains.keys() <= {""}:
        packed: bytes = msgpack.packb([STATE, *chains.get("", GrantState()).fields()])
    else:
        packed = msgpack.packb([STATE_OF_CHAINS, {chain: state.fields() for chain, state in chains.items()}])
    return packed


def unpack_state(raw: bytes) -> Chains:
    """The states of an entry.

    Raises:
        GrantRefusedError: the entry is damaged or of a later format; the grant is refused.
        GrantRevokedError: the grant was revoked.
    """
    try:
        number, *fields = msgpack.unpackb(raw)
        if number == REVOKED:
            raise GrantRevokedError
        if number in (STATE, OLD_STATE):
            return {"": _state(fields)}
        if number in (STATE_OF_CHAINS, OLD_STATE_OF_CHAINS):
            return {chain: _state(each) for chain, each in fields[0].items()}
    except (ValueError, TypeError, AttributeError, IndexError, msgpack.UnpackException) as error:
        raise GrantRefusedError("its state entry is damaged") from error
    raise GrantRefusedError(f"state of format {number}")


def changed(chains: Chains, counters: Sequence[Counter], transition: Transition) -> Chains:
    """`chains` with `transition` applied to every counter of this grant; all of them, or none if it raises.

    Raises:
        GrantError: what the transition raises. GrantUsedError: the grant was narrowed in too many ways.
    """
    after = {**chains, **{each.chain: transition(chains.get(each.chain, GrantState()), each) for each in counters}}
    if len(after) > MOST_CHAINS:
        raise GrantUsedError(f"This grant was narrowed to uses {MOST_CHAINS} times, the maximum; request another one")
    return after


def closing(chains: Chains, counters: Sequence[Counter], transition: Transition) -> Chains:
    """`chains` with every counter closed that refuses `transition` as used: it refuses everything from now on."""
    after = dict(chains)
    for counter in counters:
        state = chains.get(counter.chain)
        try:
            transition(state or GrantState(), counter)
        except GrantUsedError:
            if state is not None:
                after[counter.chain] = replace(state, closed=True)
        except GrantError:
            pass
    return after


def pack_revoked(until: int) -> bytes:
    """The entry of a revoked grant, which is kept until the unix second `until`."""
    packed: bytes = msgpack.packb([REVOKED, until])
    return packed


def revoked_until(raw: bytes) -> int | None:
    """The unix second until which the entry of a revoked grant is kept; None for every other entry."""
    # Every bridge reads every change of every grant: two bytes are enough for most of them.
    if not raw.startswith(_REVOKED_BEGINS):
        return None
    until: int = msgpack.unpackb(raw)[1]
    return until


def claim(
    state: GrantState,
    uses: int,
    holder: Holder,
    lease: str,
    now: float,
    *,
    reserve: float = 1.0,
    pay: float = 0.0,
    seconds: float = LEASE_SECONDS,
) -> GrantState:
    """`state` with `lease` on one of `uses`. It replaces an older lease of the same holder.

    `reserve` is what the delivery will take, in deliveries' worth, and `pay` what is sent with the answer. Claiming the
    same lease again pays again. The lease lasts `seconds`.

    Raises:
        GrantUsedError: every use is done, or the budget is too small.
        GrantInUseError: other leases hold the remaining uses or the remaining budget.
        LeaseLostError: the delivery of this lease is complete, or the lease belongs to another holder.
    """
    effect = TABLE[state.standing(lease, holder), LeaseAct.CLAIM]
    if effect is LeaseEffect.PAYS:
        return _paid(state, uses, lease, pay, now, seconds)
    if effect is LeaseEffect.REFUSED or lease in state.leases or lease in state.finished:
        raise LeaseLostError("This delivery is over; pull again")
    state = _lapse(state, now)
    own = [other for other, held in state.leases.items() if held.holder == str(holder)]
    if own:
        state = _drop(state, own[0], state.leases[own[0]].cost)
    _check_unused(state, uses)
    if state.done + len(state.leases) >= uses:
        raise _in_use(state, now)
    held = LeaseRecord(str(holder), now + seconds, reserve, pay)
    _check_budget(state, uses, held.cost, now)
    leases, lapsed = {**state.leases, lease: held}, _without(state.lapsed, lease)
    return GrantState(state.done, state.spent, leases, state.finished, lapsed, state.closed)


def pay(
    state: GrantState,
    uses: int,
    holder: Holder,
    lease: str,
    share: float,
    now: float,
    *,
    seconds: float = LEASE_SECONDS,
) -> GrantState:
    """`state` with `share` more of a delivery paid under `lease`, which is renewed for `seconds`.

    A reservation is always available; more is refused if other leases or the limit leave nothing.

    Raises:
        LeaseLostError: the lease is over, or belongs to another holder.
        GrantUsedError, GrantInUseError: more than was reserved, and the budget does not have it.
    """
    _check_live(state, holder, lease, LeaseAct.PAY)
    return _paid(state, uses, lease, share, now, seconds)


def renew(state: GrantState, lease: str, holder: Holder, now: float, *, seconds: float = LEASE_SECONDS) -> GrantState:
    """`state` with `lease` renewed for `seconds` by its holder; unchanged if most of its time is left.

    Raises:
        LeaseLostError: the lease is over, or belongs to another holder.
    """
    _check_live(state, holder, lease, LeaseAct.PAY)
    held = state.leases[lease]
    if held.until - now > seconds * _MUCH:
        return state
    return replace(state, leases={**state.leases, lease: replace(held, until=now + seconds)})


def release(
    state: GrantState,
    lease: str,
    holder: Holder,
    sent: float | None = None,
    *,
    unsent: float = 0.0,
    final: bool = False,
) -> GrantState:
    """`state` with the use free again, if `lease` is live and belongs to this holder.

    `sent` is the fraction that the plane saw leave; None: all that was paid for, less `unsent`. A *final* release means
    that the reader reported a failure: the delivery cannot be finished later.
    """
    if TABLE[state.standing(lease, holder), LeaseAct.RELEASE] is not LeaseEffect.FREES:
        return state
    paid = max(0.0, state.leases[lease].paid - unsent)
    after = _drop(state, lease, paid if sent is None else min(1.0, max(0.0, sent)))
    return _forget(after, lease) if final else after


def finish(state: GrantState, lease: str, holder: Holder, uses: int) -> GrantState:
    """`state` with one more completed delivery. Idempotent: a second finish of the same lease changes nothing.

    Raises:
        LeaseLostError: the plane knows no such lease of this holder, or it lapsed and no use is free any more.
    """
    effect = TABLE[state.standing(lease, holder), LeaseAct.FINISH]
    if effect is LeaseEffect.NOTHING:
        return state
    if effect is LeaseEffect.REFUSED:
        raise LeaseLostError("You have no delivery under way with this lease; pull again")
    if effect is LeaseEffect.COUNTS_IF_FREE and state.done + len(state.leases) >= uses:
        raise LeaseLostError("This delivery took too long; its use went to another reader")
    if lease in state.leases:
        state = _drop(state, lease, state.leases[lease].cost)
    finished = {**state.finished, lease: state.lapsed[lease]}
    kept = dict(list(finished.items())[-_REMEMBERED:])
    lapsed = _without(state.lapsed, lease)
    return GrantState(state.done + 1, state.spent, state.leases, kept, lapsed, state.closed)


def preview(state: GrantState, uses: int, share: float, now: float) -> GrantState:
    """`state` after a preview that shows the fraction `share` of the body; it takes no use.

    It leaves a delivery's worth for every use that is still free, so that previews cannot make a pull impossible.

    Raises:
        GrantUsedError, GrantInUseError: as `claim`.
        ForbiddenError: what is left is for deliveries. The grant stays open.
    """
    _check_unused(state, uses)
    cost = min(1.0, max(LOOK_SHARE, share))
    free = uses - state.done - len(state.leases)
    taken = state.spent + sum(held.cost for held in state.leases.values())
    if free > 0 and not taken + cost + free <= uses * CLAIMS_A_USE + _ROUNDING:
        raise _looked(free)
    _check_budget(state, uses, cost, now)
    return replace(state, spent=state.spent + cost)


def _paid(state: GrantState, uses: int, lease: str, share: float, now: float, seconds: float) -> GrantState:
    held = state.leases[lease]
    after = replace(held, paid=held.paid + share, until=now + seconds)
    if after.cost > held.cost + _ROUNDING:
        others = {other: each for other, each in state.leases.items() if other != lease}
        _check_budget(replace(state, spent=state.spent + held.cost, leases=others), uses, after.cost - held.cost, now)
    return replace(state, leases={**state.leases, lease: after})


def _check_live(state: GrantState, holder: Holder, lease: str, act: LeaseAct) -> None:
    if TABLE[state.standing(lease, holder), act] is LeaseEffect.REFUSED:
        raise LeaseLostError("This delivery took too long and its lease is over; pull again")


def _check_unused(state: GrantState, uses: int) -> None:
    if state.closed or not state.done < uses or not state.spent < uses * CLAIMS_A_USE - _ROUNDING:
        raise _used(state, uses)


def _check_budget(state: GrantState, uses: int, more: float, now: float) -> None:
    left = uses * CLAIMS_A_USE - state.spent + _ROUNDING
    if not more <= left:
        raise _used(state, uses)
    if not more <= left - sum(held.cost for held in state.leases.values()):
        raise _in_use(state, now)


def _used(state: GrantState, uses: int) -> GrantUsedError:
    count = "1 delivery" if uses == 1 else f"{uses} deliveries"
    if state.done < uses:
        return GrantUsedError(
            f"This grant's budget is spent, with {state.done} of {count} complete: readings, previews, queries and "
            "broken deliveries took it. Call the resource tool again; a larger uses pays for more"
        )
    return GrantUsedError(
        f"This grant is used up: it was for {count}. Call the resource tool again with uses={uses + 1} or more, one "
        "for each tool that takes the resource_url"
    )


def _looked(free: int) -> ForbiddenError:
    left = "1 delivery" if free == 1 else f"{free} deliveries"
    return ForbiddenError(
        f"The readings, previews and queries that this grant allows are used up; {left} can still be pulled. To read "
        "on, pull the body, or call the resource tool again with a larger uses"
    )


def _in_use(state: GrantState, now: float) -> GrantInUseError:
    wait = min(held.until for held in state.leases.values()) - now
    return GrantInUseError("Another reader is using this grant; try again shortly", retry_after=max(1.0, wait))


def _state(fields: list[Any]) -> GrantState:
    done, spent, leases, finished, *later = fields
    lapsed, closed = later or ({}, False)
    claims = {lease: LeaseRecord(*held) for lease, held in leases.items()}
    return GrantState(done, spent, claims, dict(finished) if later else {}, lapsed, closed)


def _lapse(state: GrantState, now: float) -> GrantState:
    for lease, held in state.leases.items():
        if not now < held.until:
            state = _drop(state, lease, held.cost)
    return state


def _drop(state: GrantState, lease: str, spent: float) -> GrantState:
    """`state` without `lease`, which is over and does not count unless it is finished later."""
    lapsed = {**state.lapsed, lease: state.leases[lease].holder}
    kept = dict(list(lapsed.items())[-_REMEMBERED:])
    leases = _without(state.leases, lease)
    return GrantState(state.done, state.spent + spent, leases, state.finished, kept, state.closed)


def _forget(state: GrantState, lease: str) -> GrantState:
    """`state` without the lapsed `lease`, which becomes unknown."""
    return replace(state, lapsed=_without(state.lapsed, lease))


def _without(leases: dict[str, T], lease: str) -> dict[str, T]:
    return {other: each for other, each in leases.items() if other != lease}
