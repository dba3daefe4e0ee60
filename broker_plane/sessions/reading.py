"""The rules of what changes nothing: show, log and diff. Pure."""

from __future__ import annotations

from broker_plane.sessions import views
from broker_plane.sessions.decisions import Decision, Turn
from broker_plane.sessions.diffs import unified
from broker_plane.sessions.requests import DiffRequest, LogRequest, ShowRequest


def show(turn: Turn, request: ShowRequest) -> Decision:
    """Raises RevisionNotFoundError."""
    revision = request.revision
    if revision is not None:
        turn.check_revision(revision, "revision")
    value = turn.folded.value if revision is None else turn.value_at(revision)
    return turn.decision(views.show(turn.state, value, turn.who, turn.intent, now=turn.now, revision=revision))


def log(turn: Turn, request: LogRequest) -> Decision:
    """The next entries after a revision; an empty list at the end."""
    entries = turn.past.entries(request.after)[: request.limit] if request.after < turn.state.revision else ()
    return turn.decision({"entries": [entry.to_json() for entry in entries], "revision": turn.state.revision})


def diff(turn: Turn, request: DiffRequest) -> Decision:
    """Raises RevisionNotFoundError."""
    end = turn.state.revision if request.end is None else request.end
    turn.check_revision(request.start, "from")
    turn.check_revision(end, "to")
    text = unified(turn.state.kind, turn.value_at(request.start), turn.value_at(end))
    return turn.decision({"diff": text, "from": request.start, "to": end})
