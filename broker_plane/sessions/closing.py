"""The rules of the end: confirm, close, and the entries that the plane itself adds. Pure."""

from __future__ import annotations

from typing import Any

from broker_plane.errors import ForbiddenError
from broker_plane.sessions.canonical import media_type, sha256
from broker_plane.sessions.decisions import Decision, Turn
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import OWNER_ID, PLANE_ID
from broker_plane.sessions.replicas.port import Value
from broker_plane.sessions.requests import CloseRequest, ConfirmRequest

ALL_CONFIRMED = "all expected participants have confirmed"


def confirm(turn: Turn, request: ConfirmRequest) -> Decision:
    """Say that the artifact is finished. Once no expected participant is missing, the session has to be closed.

    Raises:
        ForbiddenError: the name is expected of another participant, whose grant fixes it.
    """
    state, name = turn.state, OWNER_ID if turn.who.is_owner else turn.who.name
    if not turn.who.verified and any(each.verified and each.name == name for each in state.participants.values()):
        raise ForbiddenError(f"Another participant has a grant for the name {name}; join with a name of your own")
    if name not in state.confirmed:
        turn.say("confirmed", {})
    confirmed = [*state.confirmed, *([] if name in state.confirmed else [name])]
    missing = [each for each in turn.policy.expected if each not in confirmed]
    closing = ALL_CONFIRMED if turn.policy.expected and not missing else None
    return turn.decision({"confirmed": confirmed, "missing": missing}, closing=closing)


def close(turn: Turn, request: CloseRequest) -> Decision:
    """The owner ends the session; the caller publishes the artifact, and stores the entry that `closed` makes."""
    return turn.decision({"revision": turn.state.revision}, closing=request.reason or "closed by the owner")


def closed(folded: Folded, reason: str, body: str, *, now: float, by_owner: bool = False) -> Entry:
    """The entry that closes a session whose artifact, in canonical form, is the body with the id `body`."""
    state = folded.state
    return Entry(
        revision=state.revision + 1,
        at=now,
        participant=OWNER_ID if by_owner else PLANE_ID,
        role="owner",
        base=state.revision,
        kind="closed",
        content={
            "reason": reason,
            "sha256": sha256(state.kind, folded.value),
            "body": body,
            "media_type": media_type(state.kind),
        },
    )


def reverted(folded: Folded, before: Value, validator: str, reason: str, *, now: float) -> Entry:
    """The entry that takes the newest revision back, because a validator refused the artifact after it.

    `folded` has that revision folded; `before` is the artifact without it.
    """
    state = folded.state
    content: dict[str, Any] = {"of": state.revision, "validator": validator, "reason": reason}
    change = folded.replica.change_to(before)
    if change is not None:
        content["change"] = change
    return Entry(
        revision=state.revision + 1,
        at=now,
        participant=PLANE_ID,
        role="owner",
        base=state.revision,
        kind="reverted",
        content=content,
    )
