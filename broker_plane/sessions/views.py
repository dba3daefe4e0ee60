"""The answer of `show`: everything that a participant may see of a session, as JSON. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from broker_plane.sessions.canonical import sha256
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.replicas.port import Value
from broker_plane.sessions.state import Attendance, Conflict, Note, Proposal, RegionLease, SessionState

NOTES_BYTES: Final = 256 << 10
"""Maximum size of the notes in one answer, as JSON; verdicts that count have half of it first."""


def show(
    state: SessionState, value: Value, who: Participant, intent: str, *, now: float, revision: int | None = None
) -> dict[str, Any]:
    """The session now, with `value`, the artifact at `revision` (None: the newest).

    `result` has the body and its SHA-256 once the session is closed; whoever can mint a grant adds `resource_url`.
    """
    shown: dict[str, Any] = {
        "session": state.session,
        "revision": state.revision if revision is None else revision,
        "newest": state.revision,
        "kind": state.kind,
        "sync": state.sync,
        "value": value,
        "sha256": sha256(state.kind, value),
        "status": "open" if state.closure is None else "closed",
        "participants": [_attendance(state, each) for each in state.participants.values()],
        "leases": [_lease(each) for each in state.leases_at(now)],
        "conflicts": [_conflict(each) for each in state.conflicts.values() if each.is_open],
        "proposals": [_proposal(each) for each in state.proposals.values()],
        **_notes(state),
        "confirmed": list(state.confirmed),
        "expected": list(state.policy.expected),
        "intents": state.policy.to_wire()["intents"],
        "you": {"id": who.id, "name": who.name, "role": who.role, "intent": intent},
    }
    if (closure := state.closure) is not None:
        shown["result"] = {"body": closure.body, "sha256": closure.sha256, "media_type": closure.media_type}
    return shown


def _attendance(state: SessionState, each: Attendance) -> dict[str, Any]:
    return {
        "id": each.id,
        "name": each.name,
        "role": each.role,
        "intent": each.intent,
        "type": each.type,
        **({} if state.policy.anonymous else {"verified": each.verified}),
        "joined": each.joined,
        "present": each.present,
    }


def _lease(each: RegionLease) -> dict[str, Any]:
    return {
        "lease": each.id,
        "participant": each.participant,
        "intent": each.intent,
        "region": each.region,
        "until": each.until,
    }


def _conflict(each: Conflict) -> dict[str, Any]:
    return {
        "id": each.id,
        "revision": each.revision,
        "region": each.region,
        "ours": each.ours,
        "theirs": each.theirs,
        "status": "open" if each.is_open else "priority",
    }


def _proposal(each: Proposal) -> dict[str, Any]:
    return {
        "id": each.id,
        "participant": each.participant,
        "title": each.title,
        "revision": each.revision,
        "revisions": list(each.revisions),
    }


def _notes(state: SessionState) -> dict[str, Any]:
    """The newest notes, as many as fit, oldest first; of every participant the newest verdict has precedence.

    `notes_left_out` counts the others. Each of them is an entry `noted` of the log before `notes_before`, a revision.
    """
    newest = list(state.notes.values())[::-1]
    verdicts: dict[str, Note] = {}
    for each in newest:
        if each.verdict:
            verdicts.setdefault(each.participant, each)
    shown: dict[str, dict[str, Any]] = {}
    size = 0
    for notes, most in ((verdicts.values(), NOTES_BYTES // 2), (newest, NOTES_BYTES)):
        for each in notes:
            if each.id in shown:
                continue
            note = _note(state, each)
            size += (length := len(msgspec.json.encode(note)))
            if size > most:
                size -= length
                break
            shown[each.id] = note
    answer: dict[str, Any] = {"notes": [shown[key] for key in state.notes if key in shown]}
    if len(shown) < len(newest):
        first = next(each for each in newest if each.id not in shown)
        answer |= {"notes_left_out": len(newest) - len(shown), "notes_before": first.revision + 1}
    return answer


def _note(state: SessionState, each: Note) -> dict[str, Any]:
    anchor = state.anchors.get(each.id)
    shown: dict[str, Any] = {
        "note": each.id,
        "type": each.type,
        "text": each.text,
        "thread": each.thread,
        "participant": each.participant,
        "role": each.role,
        "revision": each.revision,
        "at": each.at,
    }
    if each.verdict:
        shown["verdict"] = each.verdict
    if anchor is not None:
        shown["anchor"] = anchor.to_json()
    return shown
