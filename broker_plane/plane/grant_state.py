"""What is remembered of a counted grant, and its transitions as pure functions (rulings.md 8, 10, 11).

A grant may be counted more than once: its root, and each caveat that narrowed its uses, by the caveat's chain. All of
them stand in the one entry of the grant id and change in one compare-and-set, each by the same transition.

A use is one completed delivery. A claim takes a lease on a use; the lease ends by *finish* (the use is spent), by
*release* (it comes back) or by its time-out. Whoever only claims gets three deliveries' worth of bytes a use: a claim
that broke counts for the fraction that it sent, one that timed out for a whole one (docs/decisions/0003). A look pays
from the same purse, at least a hundredth of a delivery (docs/decisions/0005).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from broker_plane.errors import GrantInUseError, GrantRefusedError, GrantRevokedError, GrantUsedError, LeaseLostError
from broker_plane.wire.grant import Counter

LEASE_SECONDS = 30.0
CLAIMS_A_USE = 3
LOOK_SHARE = 0.01
_MUCH = 2 / 3
"""Of a lease's time: a window that comes soon after another need not be written down, which costs an fsync."""

MOST_CHAINS = 1_024
"""Of one grant: an entry is written whole at every change, and any holder can make new chains."""

_REMEMBERED = 32
_FORMAT = 1
_FORMAT_OF_CHAINS = 2
_REVOKED = 3
"""Of an entry that holds nothing but that, and until when it stands; an older reader refuses it as a later format."""

_REVOKED_BEGINS = bytes([0x92, _REVOKED])


@dataclass(frozen=True, slots=True)
class Claim:
    """One lease: who took it, and the unix second at which it returns by itself."""

    asker: str
    until: float


@dataclass(frozen=True, slots=True)
class GrantState:
    """`done` deliveries are complete, `spent` deliveries' worth of bytes went out, `finished` names the last leases."""

    done: int = 0
    spent: float = 0.0
    leases: dict[str, Claim] = field(default_factory=dict)
    finished: tuple[str, ...] = ()

    def fields(self) -> list[Any]:
        leases = {lease: [claim.asker, claim.until] for lease, claim in self.leases.items()}
        return [self.done, self.spent, leases, list(self.finished)]


Chains = dict[str, GrantState]
"""The states of one grant id: the root's under the empty chain, a narrowed one's under the caveat's tag."""

Transition = Callable[[GrantState, Counter], GrantState]


def pack_state(chains: Chains) -> bytes:
    """An entry. A grant that nobody narrowed has the bytes that it always had."""
    if chains.keys() <= {""}:
        packed: bytes = msgpack.packb([_FORMAT, *chains.get("", GrantState()).fields()])
    else:
        packed = msgpack.packb([_FORMAT_OF_CHAINS, {chain: state.fields() for chain, state in chains.items()}])
    return packed


def unpack_state(raw: bytes) -> Chains:
    """The states of an entry.

    Raises:
        GrantRefusedError: it is of a later format; a grant whose state cannot be read opens nothing.
        GrantRevokedError: there is none any more.
    """
    number, *fields = msgpack.unpackb(raw)
    if number == _REVOKED:
        raise GrantRevokedError
    if number == _FORMAT:
        return {"": _state(fields)}
    if number != _FORMAT_OF_CHAINS:
        raise GrantRefusedError(f"state of format {number}")
    return {chain: _state(each) for chain, each in fields[0].items()}


def changed(chains: Chains, counters: Sequence[Counter], transition: Transition) -> Chains:
    """`chains` with `transition` applied to everything that counts this grant: to all of it, or it raises.

    Raises:
        GrantError: what the transition raises; GrantUsedError for a grant that was narrowed in too many ways.
    """
    after = {**chains, **{each.chain: transition(chains.get(each.chain, GrantState()), each) for each in counters}}
    if len(after) > MOST_CHAINS:
        raise GrantUsedError(f"This grant was narrowed to uses of their own {MOST_CHAINS} times; ask for another one")
    return after


def pack_revoked(until: int) -> bytes:
    """The entry of a revoked grant, which stands until the unix second `until`."""
    packed: bytes = msgpack.packb([_REVOKED, until])
    return packed


def revoked_until(raw: bytes) -> int | None:
    """Until when an entry says that its grant is revoked; None for every other entry."""
    # Every bridge looks at every change of every grant: two bytes tell most of them.
    if not raw.startswith(_REVOKED_BEGINS):
        return None
    until: int = msgpack.unpackb(raw)[1]
    return until


def claim(state: GrantState, uses: int, asker: str, lease: str, now: float) -> GrantState:
    """`state` with `lease` on one of `uses`. The same asker's older lease is given up for it.

    Raises:
        GrantUsedError: every use is done, or all its deliveries' worth of bytes went out.
        GrantInUseError: others hold the uses that are left.
        LeaseLostError: the delivery of this lease is complete.
    """
    if lease in state.leases:
        return state
    if lease in state.finished:
        raise LeaseLostError("This delivery is over; pull again")
    state = _expire(state, now)
    own = [other for other, held in state.leases.items() if held.asker == asker]
    if own:
        state = _drop(state, own[0], spent=1.0)
    _check_unused(state, uses)
    if state.done + len(state.leases) >= uses:
        wait = min(held.until for held in state.leases.values()) - now
        raise GrantInUseError("Another reader is at this grant; try again shortly", retry_after=max(1.0, wait))
    return replace(state, leases={**state.leases, lease: Claim(asker, now + LEASE_SECONDS)})


def renew(state: GrantState, lease: str, asker: str, now: float) -> GrantState:
    """`state` with more time on `lease`, which only its own asker may ask for; as it is where there is much time left.

    Raises:
        LeaseLostError: it is over.
    """
    held = state.leases.get(lease)
    if held is None or held.asker != asker:
        raise LeaseLostError("This delivery took too long and its lease is over; pull again")
    if held.until - now > LEASE_SECONDS * _MUCH:
        return state
    return replace(state, leases={**state.leases, lease: Claim(asker, now + LEASE_SECONDS)})


def release(state: GrantState, lease: str, sent: float) -> GrantState:
    """`state` with the use back; `sent` is the fraction that went out. A lease that is over changes nothing."""
    return _drop(state, lease, spent=min(1.0, max(0.0, sent))) if lease in state.leases else state


def finish(state: GrantState, lease: str, uses: int) -> GrantState:
    """`state` with one more completed delivery. A second finish of the same lease changes nothing.

    Raises:
        LeaseLostError: the lease timed out, and its use is not free any more.
    """
    if lease in state.finished:
        return state
    if lease not in state.leases and state.done + len(state.leases) >= uses:
        raise LeaseLostError("This delivery took too long; its use went to another reader")
    state = _drop(state, lease, spent=1.0) if lease in state.leases else state
    return replace(state, done=state.done + 1, finished=(*state.finished, lease)[-_REMEMBERED:])


def look(state: GrantState, uses: int, share: float) -> GrantState:
    """`state` after a look that shows `share` of the body; it takes no use.

    Raises:
        GrantUsedError: as `claim`.
    """
    _check_unused(state, uses)
    return replace(state, spent=state.spent + min(1.0, max(LOOK_SHARE, share)))


def _check_unused(state: GrantState, uses: int) -> None:
    if state.done >= uses or state.spent >= uses * CLAIMS_A_USE:
        raise GrantUsedError("This grant is used up. Call the resource tool again, or ask for more uses")


def _state(fields: list[Any]) -> GrantState:
    done, spent, leases, finished = fields
    return GrantState(done, spent, {lease: Claim(*claim) for lease, claim in leases.items()}, tuple(finished))


def _expire(state: GrantState, now: float) -> GrantState:
    for lease, held in state.leases.items():
        if not now < held.until:
            state = _drop(state, lease, spent=1.0)
    return state


def _drop(state: GrantState, lease: str, spent: float) -> GrantState:
    leases = {other: held for other, held in state.leases.items() if other != lease}
    return replace(state, leases=leases, spent=state.spent + spent)
