"""The rules of leases: a participant says for a while which region it works on. Pure.

The policy says whether a lease advises, so that others' answers carry a warning, or blocks others. A lease ends by
itself, when its participant leaves, and when it is released; `present` renews it.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker_plane.errors import ForbiddenError, RegionLeasedError, SessionError, TooLargeError
from broker_plane.sessions.decisions import Decision, Turn
from broker_plane.sessions.regions import Region, check_region, describe, overlap
from broker_plane.sessions.requests import USUAL_SECONDS, LeaseRequest, ReleaseRequest
from broker_plane.sessions.state import RegionLease

MOST_LEASES = 16
"""Leases that one participant may hold at a time."""


def lease(turn: Turn, request: LeaseRequest) -> Decision:
    """Lease a region of the newest revision.

    Raises:
        RegionLeasedError: another participant has leased a part of it, and the policy lets leases block.
        ChangeError: the artifact has no such region.
        TooLargeError: the participant holds too many leases.
    """
    check_region(turn.state.kind, request.region, turn.folded.value)
    held = [each for each in turn.state.leases_at(turn.now) if each.participant == turn.who.id]
    if len(held) >= MOST_LEASES:
        raise TooLargeError(f"A participant may hold {MOST_LEASES} leases; release one")
    warning = check(turn, [request.region])
    until = turn.now + request.seconds
    identifier = turn.new_id()
    revision = turn.say("leased", {"lease": identifier, "region": request.region, "until": until})
    answer = {"lease": identifier, "until": until, "revision": revision}
    return turn.decision(answer | ({"warning": warning} if warning else {}))


def release(turn: Turn, request: ReleaseRequest) -> Decision:
    """Raises SessionError if there is no such lease, ForbiddenError if it is another participant's."""
    found = turn.state.leases.get(request.lease)
    if found is None:
        raise SessionError(f"There is no lease {request.lease!r}; it was released, or it has expired")
    if found.participant != turn.who.id and not turn.who.is_owner:
        raise ForbiddenError("The lease is another participant's; only that one and the owner may release it")
    turn.say("released", {"lease": request.lease})
    return turn.decision({})


def renew(turn: Turn) -> None:
    """Draft the renewal of this participant's leases that have less than half of the usual time left."""
    for each in turn.state.leases_at(turn.now):
        if each.participant == turn.who.id and each.until - turn.now < USUAL_SECONDS / 2:
            until = turn.now + USUAL_SECONDS
            turn.say("leased", {"lease": each.id, "region": each.region, "until": until})


def check(turn: Turn, touched: Sequence[Region]) -> str:
    """A warning if others have leased what is touched; empty if nobody has.

    Raises:
        RegionLeasedError: the policy lets leases block.
    """
    found = _others(turn, touched)
    if found is None:
        return ""
    seconds = max(1, round(found.until - turn.now))
    text = f"{found.participant} has leased {describe(found.region)} for {seconds} more seconds"
    if turn.policy.leases == "block":
        raise RegionLeasedError(f"{text}; wait, or edit another region", retry_after=float(seconds))
    return text


def are_held_by_others(turn: Turn) -> bool:
    """Whether it matters which regions a change touches."""
    return any(each.participant != turn.who.id for each in turn.state.leases_at(turn.now))


def _others(turn: Turn, touched: Sequence[Region]) -> RegionLease | None:
    leases = (each for each in turn.state.leases_at(turn.now) if each.participant != turn.who.id)
    return next((each for each in leases if any(overlap(each.region, region) for region in touched)), None)
