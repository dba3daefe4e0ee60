"""The rules of a session: what one request of one participant leads to. Pure.

Every request is checked in the same order: the role, whether it was answered before, whether the session is open, the
intent; then the rule of its operation. A request that is refused has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from broker_plane.errors import IntentError, SessionClosedError
from broker_plane.sessions import attendance, blackboard, closing, conflicts, editing, history, leases, reading, undo
from broker_plane.sessions.decisions import Decision, Past, Turn, is_invertible, no_claim
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.requests import (
    AcceptRequest,
    DecideRequest,
    DiffRequest,
    LogRequest,
    NoteRequest,
    ProposeRequest,
    Request,
    RollbackRequest,
    ShowRequest,
    UndoRequest,
    UpdateRequest,
)
from broker_plane.sessions.roles import check_may
from broker_plane.sessions.state import SessionState

AFTER_END: Final = frozenset({"show", "log", "diff", "join", "leave"})
"""The operations of a closed session."""

_RULES: Final[Mapping[str, Callable[[Turn, Any], Decision]]] = MappingProxyType(
    {
        "show": reading.show,
        "log": reading.log,
        "diff": reading.diff,
        "join": attendance.join,
        "leave": attendance.leave,
        "present": attendance.present,
        "note": blackboard.note,
        "propose": editing.propose,
        "update": editing.update,
        "decide": conflicts.decide,
        "lease": leases.lease,
        "release": leases.release,
        "rollback": history.rollback,
        "undo": undo.undo,
        "accept": history.accept,
        "confirm": closing.confirm,
        "close": closing.close,
    }
)


def decide(
    folded: Folded,
    request: Request,
    who: Participant,
    *,
    now: float,
    past: Past,
    new_id: Callable[[], str],
    claimed: Callable[[int], str] = no_claim,
) -> Decision:
    """What `request` of `who` leads to, on the session as `folded` has it; nothing is changed.

    `now` is in unix seconds; `new_id` gives an id that was not used before; `claimed` is that of `Turn`.

    Raises:
        ForbiddenError: the role may not do it.
        SessionClosedError: the session is closed.
        IntentError: the intent is another one than the grant's, or the policy does not have it for this role.
        SessionError, WireError, TooLargeError: as the rule of the operation says.
    """
    check_may(who.role, request.do)
    state = folded.state
    who = state.shown(who)
    if request.request and (answered := state.answered.get(who.id, {}).get(request.request)) is not None:
        return Decision(answer={**answered, "repeated": True})
    if state.closure is not None and request.do not in AFTER_END:
        raise SessionClosedError("The session is closed; read it, and `result` names the body that its artifact became")
    intent = _intent(state, request, who)
    turn = Turn(folded, who, intent, now=now, past=past, new_id=new_id, request=request.request, claimed=claimed)
    return _RULES[request.do](turn, request)


def _intent(state: SessionState, request: Request, who: Participant) -> str:
    """The intent of a request: the grant's, the one that it names, or the one that the participant joined with."""
    if who.intent and request.intent not in ("", who.intent):
        raise IntentError(f"The grant is for the intent {who.intent}, not for {request.intent[:40]!r}")
    joined = state.participants.get(who.id)
    return state.policy.intent_of(who.role, who.intent, request.intent, joined.intent if joined else "")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request reads of the past. The caller of `decide` prepares it, so that `Past` can answer at once."""

    entries_after: int | None = None
    """Entries after this revision."""
    entries_to: int | None = None
    """The last revision that is read; None for all. A page of a long log needs no more of it."""
    values: tuple[int, ...] = ()
    """The artifact at these revisions."""


def needs(state: SessionState, request: Request) -> Needs:
    """What `decide` would read of the past for `request`; nothing if it is about the newest revision only.

    Revisions that the session does not have are left out: `decide` refuses them.
    """
    after: int | None = None
    last: int | None = None
    values: list[int] = []
    base: int | None = None
    match request:
        case ShowRequest(revision=int(revision)):
            values.append(revision)
        case LogRequest(after=first, limit=limit) if first < state.revision:
            after, last = first, first + limit
        case DiffRequest(start=start, end=end):
            values += [start, state.revision if end is None else end]
        case ProposeRequest(base=known) | UpdateRequest(base=int(known)) | NoteRequest(base=int(known)):
            base = known
        case RollbackRequest(to=to):
            values.append(to)
        case UndoRequest():
            after = 0
        case DecideRequest(conflict=conflict) if conflict in state.conflicts:
            base = state.conflicts[conflict].revision
            values += [] if is_invertible(state) else [base - 2, request.base or base]
        case AcceptRequest(proposal=proposal) if proposal in state.proposals:
            base = state.proposals[proposal].revision
    if base is not None and base < state.changed:
        after = base
        values += [] if is_invertible(state) else [base]
    return Needs(after, last, tuple(sorted({each for each in values if 1 <= each < state.changed})))
