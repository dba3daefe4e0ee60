"""The rules of editing: propose and update. Pure.

A base is stale if the artifact has changed since. An edit of a stale base is never merged silently: it is refused with
a diff of what has changed, or merged if the request or the sync protocol says so, and then the answer says so.
"""

from __future__ import annotations

from typing import Any, cast

from broker_plane.errors import ForbiddenError, StaleBaseError, WireError
from broker_plane.sessions import conflicts, leases, text_ops
from broker_plane.sessions.bases import composed, edits_since, touched
from broker_plane.sessions.decisions import Decision, Turn
from broker_plane.sessions.diffs import unified
from broker_plane.sessions.edits import edit_change
from broker_plane.sessions.folded import edit_of
from broker_plane.sessions.merging import merge
from broker_plane.sessions.movements import PathMovement, carry_region, text_movement
from broker_plane.sessions.operations import check, operate
from broker_plane.sessions.participants import of_one_grant
from broker_plane.sessions.regions import check_region
from broker_plane.sessions.replicas.port import Change, OfClients, Value
from broker_plane.sessions.requests import ProposeRequest, UpdateRequest
from broker_plane.sessions.text_differences import trimmed
from broker_plane.sessions.three_way import applied, difference

_VALUES = frozenset({"text", "value"})
"""The members of an edit that give what the artifact or a region of it is to be."""


def propose(turn: Turn, request: ProposeRequest) -> Decision:
    """Edit a region of the artifact of revision `base`.

    Raises:
        RevisionNotFoundError: the base.
        StaleBaseError: the artifact has changed since, and the edit is not to be merged.
        ChangeError, TooLargeError: the edit or its region does not fit.
        RegionLeasedError: another participant has leased a part of what it changes.
    """
    turn.check_revision(request.base, "base")
    value = turn.base_value(request.base)
    check_region(turn.state.kind, request.region, value)
    if request.base >= turn.state.changed:
        edit = _edit(turn, request, value)
        return turn.decision({"merged": False, "stale": False} | operate(turn, edit, said(request), base=request.base))
    diff = unified(turn.state.kind, value, turn.folded.value)
    stale = request.stale or ("merge" if turn.state.sync == "patch" else "report")
    if stale == "report":
        raise StaleBaseError.of(turn.state.revision, diff)
    edit = _edit(turn, request, value)
    return turn.decision({"stale": True, "diff": diff} | _merged(turn, request, edit))


def _edit(turn: Turn, request: ProposeRequest, value: Value) -> Change:
    """The change that a request means. A new value for the whole artifact changes only what is different in it."""
    kind = turn.state.kind
    edit = edit_change(kind, value, request.region, request.edit)
    given = request.edit
    whole = request.region is None and (isinstance(given, str) or (isinstance(given, dict) and _VALUES & given.keys()))
    if whole:
        return difference(kind, value, applied(kind, value, edit)) or []
    # Where all inserts are kept, two edits that each replace a line by a longer one would double the line.
    return trimmed(edit) if kind == "text" and turn.state.sync != "patch" else edit


def said(request: ProposeRequest) -> dict[str, Any]:
    """What the entry of an edit says besides the change."""
    content: dict[str, Any] = {}
    if request.region is not None:
        content["region"] = request.region
    if request.message:
        content["message"] = request.message
    return content


def _merged(turn: Turn, request: ProposeRequest, edit: Change) -> dict[str, Any]:
    """The answer for an edit of a stale base, brought to the newest revision.

    `crdt` and `ot` keep what everybody inserted; where others changed the same place, the answer has it as `overlaps`.
    """
    state = turn.state
    content = said(request)
    content.pop("region", None)  # it is one of the base
    found = merge(state.kind, turn.base_value(request.base), edits_since(turn, request.base), edit)
    if found.overlaps and state.sync == "patch":
        since, overlapped = turn.since(request.base), {each.index for each in found.overlaps}
        against = [entry for place, entry in enumerate(since) if place in overlapped]
        return conflicts.settle(turn, request.base, edit, against, content)
    answer = {"merged": True} | operate(turn, found.change, content, base=request.base)
    if found.overlaps:
        text = state.kind == "text"
        movement = text_movement(found.change) if text else PathMovement(found.change, turn.folded.value)
        answer["overlaps"] = [carry_region(each.region, movement, grow=True) for each in found.overlaps]
    return answer


def update(turn: Turn, request: UpdateRequest) -> Decision:
    """An operation of the sync protocol as its clients send it: an update of Yjs, or components on revision `base`.

    Of two inserts at one place, that of the earlier revision comes first.

    Raises:
        WireError: the session's sync protocol has no such operations.
        RevisionNotFoundError, ChangeError, TooLargeError, RegionLeasedError.
        ForbiddenError: it inserts with the Yjs client id of another participant.
    """
    state = turn.state
    if state.sync == "crdt" and isinstance(request.change, bytes):
        return turn.decision(_crdt_update(turn, request, request.change))
    if state.sync == "ot" and isinstance(request.change, list):
        return turn.decision(_ot_update(turn, request, request.change))
    if state.sync == "patch":
        raise WireError("A session of the sync protocol patch has no updates; use propose")
    wanted = "base64 of an update of Yjs" if state.sync == "crdt" else "a list of components"
    raise WireError(f"`change` of an update must be {wanted} in a session of the sync protocol {state.sync}")


def _crdt_update(turn: Turn, request: UpdateRequest, change: bytes) -> dict[str, Any]:
    check(turn, change)
    _check_clients(turn, change)
    warning = ""
    if leases.are_held_by_others(turn):
        warning = leases.check(turn, touched(turn.state.kind, edit_of(turn.folded.replica, change)))
    revision = turn.say(
        "operation", {"change": change}, base=min(request.base or turn.state.revision, turn.state.revision)
    )
    return {"revision": revision, **({"warning": warning} if warning else {})}


def _check_clients(turn: Turn, change: bytes) -> None:
    """Refuse insertions with the Yjs client id of somebody else: whose own next ones would then be lost everywhere.

    Raises:
        ForbiddenError: the id belongs to a participant of another grant, who is present or has a verified name.
    """
    state, who = turn.state, turn.who
    for client in cast(OfClients, turn.folded.replica).clients(change, new=True):
        holder = state.participants.get(state.clients.get(client) or turn.claimed(client) or who.id)
        if (
            holder is None
            or of_one_grant(holder.id, who.id)
            or (holder.verified and who.verified and holder.name == who.name)
        ):
            continue
        if holder.verified or holder.present:
            raise ForbiddenError(
                f"The update inserts with the Yjs client id {client}, of another participant; use a new document"
            )


def _ot_update(turn: Turn, request: UpdateRequest, change: list[Any]) -> dict[str, Any]:
    if request.base is None:
        raise WireError("An update of an ot session needs `base`, the revision that it was made on")
    turn.check_revision(request.base, "base")
    # Only a deletion that gives a number instead of a text needs the base, which may have to be computed.
    counts = any(isinstance(each, dict) and isinstance(each.get("d"), int) for each in change)
    edit = text_ops.parse(change, turn.base_value(request.base) if counts else None)
    edit = text_ops.transform(edit, composed(edits_since(turn, request.base)), "right")
    return operate(turn, edit, {}, base=request.base)
