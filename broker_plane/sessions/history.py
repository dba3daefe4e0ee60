"""The rules of going back and of proposals: rollback and accept. Pure."""

from __future__ import annotations

from typing import Any

from broker_plane.errors import SessionError, StaleBaseError
from broker_plane.sessions import text_ops
from broker_plane.sessions.bases import composed, edits_since
from broker_plane.sessions.canonical import sha256
from broker_plane.sessions.decisions import Decision, Turn
from broker_plane.sessions.diffs import unified
from broker_plane.sessions.merging import merge
from broker_plane.sessions.operations import operate
from broker_plane.sessions.replicas.port import Change
from broker_plane.sessions.requests import AcceptRequest, RollbackRequest
from broker_plane.sessions.state import Proposal
from broker_plane.sessions.three_way import difference


def rollback(turn: Turn, request: RollbackRequest) -> Decision:
    """Make the artifact what it was at a revision, as a new revision.

    Raises:
        RevisionNotFoundError, RegionLeasedError.
    """
    turn.check_revision(request.to, "to")
    kind, base = turn.state.kind, turn.state.revision
    value = turn.value_at(request.to)
    content: dict[str, Any] = {"to": request.to, "sha256": sha256(kind, value)}
    edit = difference(kind, turn.folded.value, value)
    if edit is None:
        answer: dict[str, Any] = {"revision": turn.say("rolled_back", content, base=base)}
    else:
        answer = operate(turn, edit, content, base=base, kind="rolled_back", bounded=False)
    return turn.decision(answer | {"sha256": content["sha256"]})


def accept(turn: Turn, request: AcceptRequest) -> Decision:
    """Apply a proposal, brought to the newest revision if it still fits.

    Raises:
        SessionError: there is no such proposal, or it was accepted.
        StaleBaseError: what it changes has been changed since it was proposed.
        RegionLeasedError, TooLargeError.
    """
    proposal = turn.state.proposals.get(request.proposal)
    if proposal is None:
        raise SessionError(f"There is no open proposal {request.proposal!r}; `show` lists them")
    edit = _rebased(turn, proposal)
    content: dict[str, Any] = {"proposal": proposal.id}
    if proposal.title:
        content["message"] = proposal.title
    answer = operate(turn, edit, content, base=proposal.revision, bounded=False)
    return turn.decision(answer)


def _rebased(turn: Turn, proposal: Proposal) -> Change:
    state = turn.state
    if proposal.revision >= state.changed:
        return proposal.change
    edits = edits_since(turn, proposal.revision)
    if state.sync == "ot":
        return text_ops.transform(proposal.change, composed(edits), "right")
    before = turn.base_value(proposal.revision)
    found = merge(state.kind, before, edits, proposal.change)
    if found.overlaps:
        raise StaleBaseError.of(state.revision, unified(state.kind, before, turn.folded.value))
    return found.change
