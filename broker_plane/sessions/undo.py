"""The rule of undo: a proposal of what the artifact would be without some revisions. Pure.

It is computed by replaying the log. For a text, one operation leads from the artifact as it was to the one without the
revisions that are left out, and every other revision transforms it. For JSON and tables the same is done with values
and three-way merges, in which a later change of the same place stays. A revision that was rolled back, reverted, or
undone by an accepted proposal is not undone again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_plane.errors import ChangeError, IntentError
from broker_plane.sessions import text_ops
from broker_plane.sessions.decisions import Decision, Turn
from broker_plane.sessions.diffs import unified
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import Folded, edit_of
from broker_plane.sessions.replicas.port import Change, Replica
from broker_plane.sessions.requests import UndoRequest
from broker_plane.sessions.three_way import applied, difference, merged


def undo(turn: Turn, request: UndoRequest) -> Decision:
    """Propose to undo the revisions after `since` of a participant (its id or name) or of an intent.

    Raises:
        ChangeError: there is nothing to undo.
        IntentError: the policy has no such intent.
    """
    if request.of_intent and request.of_intent not in turn.policy.intents:
        raise IntentError(f"The session has no intent {request.of_intent!r}; it has {', '.join(turn.policy.intents)}")
    entries = turn.past.entries(0)
    revisions = _revisions(turn, request, entries)
    edit = _without(entries, frozenset(revisions)) if revisions else None
    whose = request.participant or f"the intent {request.of_intent}"
    if edit is None:
        raise ChangeError(f"There is nothing of {whose} to undo after revision {request.since}")
    kind = turn.state.kind
    diff = unified(kind, turn.folded.value, applied(kind, turn.folded.value, edit))
    identifier = turn.new_id()
    title = f"Undo {len(revisions)} {'revision' if len(revisions) == 1 else 'revisions'} of {whose}"
    content = {"proposal": identifier, "change": edit, "title": title, "revisions": revisions}
    turn.say("proposed", content, base=turn.state.revision)
    return turn.decision({"proposal": identifier, "diff": diff, "revisions": revisions, "revision": turn.revision})


def _revisions(turn: Turn, request: UndoRequest, entries: Sequence[Entry]) -> list[int]:
    ids = {key for key, each in turn.state.participants.items() if each.name == request.participant}
    ids.add(request.participant)
    effective = _effective(entries)
    return [
        entry.revision
        for entry in entries
        if entry.revision > request.since
        and entry.revision in effective
        and (entry.intent == request.of_intent if request.of_intent else entry.participant in ids)
    ]


def _effective(entries: Sequence[Entry]) -> set[int]:
    """The operations that the artifact is made of: not reverted, rolled back, or undone by an accepted proposal."""
    proposed = {entry.content["proposal"]: entry.content["revisions"] for entry in entries if entry.kind == "proposed"}
    targets = {target for entry in entries if (target := _restores(entry)) is not None}
    effective: set[int] = set()
    at: dict[int, set[int]] = {}
    for entry in entries:
        if (target := _restores(entry)) is not None:
            effective = set(at[target])
        elif entry.kind == "operation":
            effective.add(entry.revision)
            effective -= set(proposed.get(entry.content.get("proposal"), ()))
        if entry.revision in targets:
            at[entry.revision] = set(effective)
    return effective


def _restores(entry: Entry) -> int | None:
    """The revision whose artifact this entry restores."""
    if entry.kind == "rolled_back":
        return int(entry.content["to"])
    return int(entry.content["of"]) - 1 if entry.kind == "reverted" else None


def _without(entries: Sequence[Entry], left_out: frozenset[int]) -> Change | None:
    """The edit of the newest artifact that leads to the one without some revisions; None if that is the same."""
    replica = Folded.of(entries[:1]).replica
    alternative = _Text() if replica.kind == "text" else _Json()
    targets = {target for entry in entries if (target := _restores(entry)) is not None}
    kept = {}
    for entry in entries[1:]:
        if entry.revision - 1 in targets:
            kept[entry.revision - 1] = alternative.state
        if (target := _restores(entry)) is not None:
            alternative.state = kept[target]
            if entry.change is not None:
                replica.apply(entry.change)
        elif entry.change is not None:
            alternative.step(replica, entry.change, leave_out=entry.revision in left_out)
    return alternative.edit(replica)


class _Text:
    """The artifact without some revisions, as the operation that leads there."""

    def __init__(self) -> None:
        self.state: Any = []

    def step(self, replica: Replica, change: Change, *, leave_out: bool) -> None:
        """Apply a change, and take it over or leave it out."""
        if leave_out:
            self.state = text_ops.compose(text_ops.invert(edit_of(replica, change)), self.state)
        elif self.state:
            self.state = text_ops.transform(self.state, edit_of(replica, change), "left")
        replica.apply(change)

    def edit(self, replica: Replica) -> Change | None:
        return self.state or None


class _Json:
    """The artifact without some revisions, as a value; None while nothing was left out."""

    def __init__(self) -> None:
        self.state: Any = None

    def step(self, replica: Replica, change: Change, *, leave_out: bool) -> None:
        """Apply a change, and take it over or leave it out."""
        before = None if self.state is None and not leave_out else (replica.value,)
        replica.apply(change)
        if before is None:
            return
        if leave_out:
            self.state = before if self.state is None else self.state
        else:
            self.state = (merged(before[0], self.state[0], replica.value),)

    def edit(self, replica: Replica) -> Change | None:
        return None if self.state is None else difference(replica.kind, replica.value, self.state[0])
