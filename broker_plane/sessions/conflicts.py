"""The rules of conflicts, for the sync protocol `patch`: edits of a stale base that overlap with later ones. Pure.

The edit whose intent has the higher priority is the artifact's; a conflict's entry keeps the other side. Of two edits
with equal priorities the artifact keeps the earlier one (`ours`), and the conflict waits until somebody whom the policy
names decides. Nothing is lost without such an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from broker_plane.errors import ForbiddenError, SessionError, StaleBaseError, TooLargeError
from broker_plane.sessions import text_ops
from broker_plane.sessions.bases import edits_since, hull, region_now
from broker_plane.sessions.decisions import Decision, Turn
from broker_plane.sessions.diffs import unified
from broker_plane.sessions.edits import edit_change
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.merging import merge
from broker_plane.sessions.operations import operate
from broker_plane.sessions.regions import Region, content, exists
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Value
from broker_plane.sessions.requests import DecideRequest
from broker_plane.sessions.state import Conflict
from broker_plane.sessions.three_way import applied, difference, winning_edit

_FORM: Final = {"text": "ops", "json": "patch", "table": "patch"}
"""The member of `theirs` that has the edit with which it wins, by the kind of the artifact."""

MOST_OPEN: Final = 10_000
"""Conflicts that wait for a decision at a time."""


def settle(turn: Turn, base: int, edit: Change, against: Sequence[Entry], content: dict[str, Any]) -> dict[str, Any]:
    """Decide between an edit of the artifact at `base` and those that it overlaps with; return the answer's parts.

    Raises:
        TooLargeError: too many conflicts wait for a decision.
    """
    won = winning_edit(turn.state.kind, turn.base_value(base), edits_since(turn, base), edit)
    if won is None:  # both made the same change
        return {"merged": True, "revision": turn.state.revision, "unchanged": True}
    mine = turn.policy.priority(turn.intent)
    rival = max(against, key=lambda entry: (turn.policy.priority(entry.intent), entry.revision))
    theirs = turn.policy.priority(rival.intent)
    identifier = turn.new_id()
    record = {"conflict": identifier, **_sides(turn, rival, won, wins=mine > theirs)}
    if mine > theirs:
        answer = operate(turn, won, {**content, "conflict": identifier}, base=base)
        turn.say("conflict", record | {"status": "priority", "winner": "theirs"}, base=base)
        return {"merged": True, **answer, "conflict": {"id": identifier, "status": "priority", "winner": "theirs"}}
    settled = {"status": "priority", "winner": "ours"} if mine < theirs else {"status": "open"}
    if "winner" not in settled and sum(each.is_open for each in turn.state.conflicts.values()) >= MOST_OPEN:
        raise TooLargeError(f"{MOST_OPEN} conflicts wait for a decision; decide some of them, and propose again")
    revision = turn.say("conflict", record | settled, base=base)
    return {"merged": False, "revision": revision, "conflict": {"id": identifier, "winner": None, **settled}}


def _sides(turn: Turn, rival: Entry, won: Change, *, wins: bool) -> dict[str, Any]:
    """What each side of a conflict has in its region, and where that is in the artifact after the conflict.

    `wins` says whether `won` is applied.
    """
    kind, now = turn.state.kind, turn.folded.value
    after = applied(kind, now, won)
    region = hull(kind, won)
    changed = _region_after(kind, region, now, after)
    place = changed if wins else region
    ours = {"participant": rival.participant, "intent": rival.intent, "revision": rival.revision}
    theirs = {"participant": turn.who.id, "intent": turn.intent, "revision": turn.state.revision}
    sides: dict[str, Any] = {
        "region": place,
        "ours": {**ours, "region": place, **_shown(kind, region, now)},
        "theirs": {**theirs, "region": place, **_shown(kind, changed, after), _FORM[kind]: won},
    }
    return sides


def _region_after(kind: ArtifactKind, region: Region, before: Value, after: Value) -> Region:
    """A region that has every difference of two values, in the second one."""
    if kind != "text" or region is None:
        return region
    return {"start": region["start"], "end": region["end"] + len(after) - len(before)}


def _shown(kind: ArtifactKind, region: Region, value: Value) -> dict[str, Any]:
    if not exists(kind, region, value):
        return {}
    return {"text" if kind == "text" else "value": content(kind, region, value)}


def decide(turn: Turn, request: DecideRequest) -> Decision:
    """Decide a conflict, also one that priority settled: for one side, or with an edit of the region.

    The entry and the answer have the part of the artifact that the decision replaces, as `replaced`.

    Raises:
        SessionError: there is no such conflict, or it is decided.
        RevisionNotFoundError: the base.
        StaleBaseError: others have changed that part since the conflict, or since `base`.
        ForbiddenError: the policy lets somebody else decide.
        ChangeError: the edit does not fit.
    """
    conflict = turn.state.conflicts.get(request.conflict)
    if conflict is None:
        raise SessionError(f"There is no conflict {request.conflict!r} to decide; `show` lists the open ones")
    check_arbiter(turn)
    base = conflict.revision
    if request.base is not None:
        turn.check_revision(request.base, "base")
        base = max(base, request.base)
    edit = _edit(turn, conflict, request, base)
    replaced = {} if edit is None else _replaced(turn, edit)
    content = {"conflict": conflict.id, "choice": request.choice, **replaced}
    answer: dict[str, Any] = {"revision": turn.say("decided", content, base=base), **replaced}
    if edit is not None:
        more: dict[str, Any] = {"conflict": conflict.id, "region": conflict.region}
        answer |= operate(turn, edit, more, base=base, bounded=False)
    return turn.decision(answer | {"revision": turn.revision})


def check_arbiter(turn: Turn) -> None:
    """Raise ForbiddenError unless this participant may decide conflicts."""
    policy, who = turn.policy, turn.who
    if who.is_owner:
        return
    match policy.arbitration:
        case "owner":
            raise ForbiddenError("Only the owner decides conflicts of this session")
        case "arbiter" if who.name != policy.arbiter:
            raise ForbiddenError(f"Only {policy.arbiter} and the owner decide conflicts of this session")
        case "arbiter" if not who.verified:
            raise ForbiddenError(
                f"The arbiter {policy.arbiter} needs a grant for this participant, so that nobody else takes the name"
            )
        case "record" if who.role != "editor":
            raise ForbiddenError("Only editors and the owner decide conflicts of this session")


def _edit(turn: Turn, conflict: Conflict, request: DecideRequest, base: int) -> Change | None:
    """The edit of the newest artifact that a choice, made after reading revision `base`, leads to.

    None if the artifact stays as it is.

    Raises:
        StaleBaseError: others have changed the same place after `base`.
    """
    kind, at_base = turn.state.kind, turn.base_value(base)
    if request.choice == "other":
        region = region_now(turn, conflict.ours["region"], conflict.revision, base)
        edit = edit_change(kind, at_base, region, request.edit)
    elif request.choice == (conflict.winner or "ours"):
        return None
    else:
        before = turn.base_value(conflict.revision)
        seen = edits_since(turn, conflict.revision, base)
        edit = winning_edit(kind, before, seen, _other_side(turn, conflict, before))
    found = merge(kind, at_base, edits_since(turn, base), edit or [])
    if found.overlaps:
        diff = unified(kind, at_base, turn.folded.value)
        raise StaleBaseError.of(turn.state.revision, diff, "Read the difference, and decide again with it as `base`")
    return found.change or None


def _replaced(turn: Turn, edit: Change) -> dict[str, Any]:
    """What an edit of the newest artifact replaces there, as the member `replaced`; nothing if it only inserts."""
    kind, now = turn.state.kind, turn.folded.value
    region = hull(kind, edit)
    shown = _shown(kind, region, now)
    if not shown or shown.get("text") == "":
        return {}
    return {"replaced": {"region": region, **shown}}


def _other_side(turn: Turn, conflict: Conflict, before: Value) -> Change:
    """The edit of the artifact at a conflict's revision that lets the side win that did not."""
    kind, edit = turn.state.kind, conflict.theirs[_FORM[turn.state.kind]]
    if conflict.winner != "theirs":
        return edit
    if kind == "text":
        return text_ops.invert(edit)
    # The operation that won is the entry before the conflict's.
    return difference(kind, before, turn.base_value(conflict.revision - 2)) or []
