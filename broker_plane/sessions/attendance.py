"""The rules of being there: join, leave and present. Pure."""

from __future__ import annotations

from broker_plane.sessions import views
from broker_plane.sessions.decisions import Decision, Turn
from broker_plane.sessions.leases import renew
from broker_plane.sessions.requests import JoinRequest, LeaveRequest, PresentRequest


def join(turn: Turn, request: JoinRequest) -> Decision:
    """Idempotent: a participant who has joined is shown the session again. A closed session is only shown."""
    if turn.state.closure is None and turn.has_to_join(with_intent=True):
        turn.join()
    shown = views.show(turn.state, turn.folded.value, turn.who, turn.intent, now=turn.now)
    if turn.revision > turn.state.revision:
        shown |= {"revision": turn.revision, "newest": turn.revision}
        shown["participants"] = [each for each in shown["participants"] if each["id"] != turn.who.id] + [you_of(turn)]
    if not request.value:
        del shown["value"]
    return turn.decision(shown)


def you_of(turn: Turn) -> dict[str, object]:
    """The participant of a turn, as `show` lists it once it has joined."""
    who = turn.who
    return {
        "id": who.id,
        "name": who.name,
        "role": who.role,
        "intent": turn.intent,
        "type": who.type,
        **({} if turn.policy.anonymous else {"verified": who.verified}),
        "joined": turn.now,
        "present": True,
    }


def leave(turn: Turn, request: LeaveRequest) -> Decision:
    """Idempotent. The leases of the participant end."""
    found = turn.state.participants.get(turn.who.id)
    if found is not None and found.present and turn.state.closure is None:
        turn.say("left", {})
    return turn.decision({})


def present(turn: Turn, request: PresentRequest) -> Decision:
    """Nothing is stored, unless a lease of the participant is renewed."""
    renew(turn)
    told = {"id": turn.who.id, "name": turn.who.name, "at": request.at, "state": request.state}
    return turn.decision({}, presence=told)
