"""What is remembered of a counted grant, and its transitions as pure functions (rulings.md 8, 10, 11).

A use is one completed delivery. A claim takes a lease on a use; the lease ends by *finish* (the use is spent), by
*release* (it comes back) or by its time-out. Whoever only claims gets three deliveries' worth of bytes a use: a claim
that broke counts for the fraction that it sent, one that timed out for a whole one (docs/decisions/0003).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgpack

from broker_plane.errors import GrantInUseError, GrantRefusedError, GrantUsedError, LeaseLostError

LEASE_SECONDS = 30.0
CLAIMS_A_USE = 3
_REMEMBERED = 32
_FORMAT = 1


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

    def pack(self) -> bytes:
        leases = {lease: [claim.asker, claim.until] for lease, claim in self.leases.items()}
        packed: bytes = msgpack.packb([_FORMAT, self.done, self.spent, leases, list(self.finished)])
        return packed


def unpack_state(raw: bytes) -> GrantState:
    """The state of an entry.

    Raises:
        GrantRefusedError: it is of a later format; a grant whose state cannot be read opens nothing.
    """
    fields = msgpack.unpackb(raw)
    if fields[0] != _FORMAT:
        raise GrantRefusedError(f"state of format {fields[0]}")
    _, done, spent, leases, finished = fields
    return GrantState(done, spent, {lease: Claim(*claim) for lease, claim in leases.items()}, tuple(finished))


def claim(state: GrantState, uses: int, asker: str, lease: str, now: float) -> GrantState:
    """`state` with `lease` on one of `uses`. The same asker's older lease is given up for it.

    Raises:
        GrantUsedError: every use is done, or all its deliveries' worth of bytes went out.
        GrantInUseError: others hold the uses that are left.
    """
    if lease in state.leases:
        return state
    state = _expire(state, now)
    own = [other for other, held in state.leases.items() if held.asker == asker]
    if own:
        state = _drop(state, own[0], spent=1.0)
    if state.done >= uses or state.spent >= uses * CLAIMS_A_USE:
        raise GrantUsedError("This grant is used up. Call the resource tool again, or ask for more uses")
    if state.done + len(state.leases) >= uses:
        wait = min(held.until for held in state.leases.values()) - now
        raise GrantInUseError("Another reader is at this grant; try again shortly", retry_after=max(1.0, wait))
    return replace(state, leases={**state.leases, lease: Claim(asker, now + LEASE_SECONDS)})


def renew(state: GrantState, lease: str, asker: str, now: float) -> GrantState:
    """`state` with more time on `lease`, which only its own asker may ask for.

    Raises:
        LeaseLostError: it is over.
    """
    held = state.leases.get(lease)
    if held is None or held.asker != asker:
        raise LeaseLostError("This delivery took too long and its lease is over; pull again")
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


def _expire(state: GrantState, now: float) -> GrantState:
    for lease, held in state.leases.items():
        if not now < held.until:
            state = _drop(state, lease, spent=1.0)
    return state


def _drop(state: GrantState, lease: str, spent: float) -> GrantState:
    leases = {other: held for other, held in state.leases.items() if other != lease}
    return replace(state, leases=leases, spent=state.spent + spent)
