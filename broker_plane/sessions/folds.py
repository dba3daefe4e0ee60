"""The fold of a session's log: the state after each entry. Pure.

Every bridge gets the same state: folding uses nothing but the entries. An entry was checked before it was stored, so
that folding decides nothing, and refuses only what cannot follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, cast

from broker_plane.errors import SessionError
from broker_plane.sessions.anchors import Anchor, carry_anchors
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.movements import Movement, carry_region
from broker_plane.sessions.participants import OWNER_ID
from broker_plane.sessions.policy import parse_policy
from broker_plane.sessions.replicas.port import OfClients, Replica
from broker_plane.sessions.state import Attendance, Closure, Conflict, Note, Proposal, RegionLease, SessionState

MOST_PROPOSALS: Final = 100
"""How many proposals wait at a time; older ones can be made again."""

MOST_SETTLED: Final = 100
"""How many conflicts that priority settled are kept in the state, so that they can still be decided otherwise; the log
has all of them."""

MOST_ANSWERED: Final = 128
"""How many requests with an id are remembered of one participant: those that a client may repeat after an interruption,
however much others do meanwhile."""

MOST_ANSWERING: Final = 512
"""Of how many participants; those whose last request is the oldest are forgotten first."""

_ANSWERED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"noted": ("note", "thread"), "leased": ("lease", "until"), "proposed": ("proposal", "revisions")}
)
"""Members of an entry's content that belong to the answer of its request."""


def start(entry: Entry) -> SessionState:
    """The state after the first entry.

    Raises:
        SessionError: it is not the first entry of a session.
    """
    if entry.kind != "created" or entry.revision != 1:
        raise SessionError("The log of a session starts with its creation, revision 1")
    content = entry.content
    return SessionState(
        session=content["session"],
        secret=content.get("secret", ""),
        kind=content["artifact"],
        sync=content["sync"],
        policy=parse_policy(content["policy"]),
        revision=1,
        created=entry.at,
    )


def check_follows(state: SessionState, entry: Entry) -> None:
    """Raise SessionError unless `entry` is the next one."""
    if entry.revision != state.revision + 1 or entry.kind == "created":
        raise SessionError(f"Revision {entry.revision} does not follow revision {state.revision}; read the log again")


def with_clients(state: SessionState, entry: Entry, replica: Replica) -> Mapping[int, str]:
    """`state.clients` with the client ids that the change of an entry is the first to use. Raises ChangeError."""
    if replica.sync != "crdt" or entry.change is None:
        return state.clients
    used = cast(OfClients, replica).clients(entry.change)
    new = {client: entry.participant for client in used if client not in state.clients}
    return {**state.clients, **new} if new else state.clients


def fold(state: SessionState, entry: Entry, movement: Movement | None = None) -> SessionState:
    """The state after one more entry. `movement` says how its change moves regions; None if nothing moves.

    Raises:
        SessionError: the entry does not follow the state's revision.
    """
    check_follows(state, entry)
    parts: dict[str, Any] = {} if movement is None else _carried(state, movement)
    if any(lease.until <= entry.at for lease in state.leases.values()):
        leases = parts.get("leases", state.leases)
        parts["leases"] = {key: lease for key, lease in leases.items() if entry.at < lease.until}
    if parts:
        state = replace(state, **parts)
    more = _FOLDS[entry.kind](state, entry)
    if request := entry.content.get("request"):
        more["answered"] = _answered(state, entry, request)
    changed = state.changed if entry.change is None else entry.revision
    return replace(state, revision=entry.revision, changed=changed, **more)


def _answered(state: SessionState, entry: Entry, request: str) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """The answers with that of a request, to which this entry belongs."""
    content = entry.content
    own = state.answered.get(entry.participant, {})
    answer = {**own.get(request, {}), "revision": entry.revision}
    answer |= {name: content[name] for name in _ANSWERED.get(entry.kind, ())}
    if entry.kind == "conflict":
        status, winner = content["status"], content.get("winner")
        answer["conflict"] = {"id": content["conflict"], "status": status, **({"winner": winner} if winner else {})}
    own = {**own, request: answer}
    if len(own) > MOST_ANSWERED:
        del own[next(iter(own))]
    answered = {key: each for key, each in state.answered.items() if key != entry.participant}
    if len(answered) >= MOST_ANSWERING:
        del answered[next(iter(answered))]
    return {**answered, entry.participant: own}


def _carried(state: SessionState, movement: Movement) -> dict[str, Any]:
    return {
        "anchors": carry_anchors(state.anchors, movement),
        "leases": {
            key: replace(lease, region=carry_region(lease.region, movement, grow=True))
            for key, lease in state.leases.items()
        },
        "conflicts": {
            key: conflict
            if (region := carry_region(conflict.region, movement)) is conflict.region
            else replace(conflict, region=region)
            for key, conflict in state.conflicts.items()
        },
    }


def _nothing(state: SessionState, entry: Entry) -> dict[str, Any]:
    return {}


def _joined(state: SessionState, entry: Entry) -> dict[str, Any]:
    content = entry.content
    before = state.participants.get(entry.participant)
    attendance = Attendance(
        id=entry.participant,
        name=content["name"],
        role=entry.role,  # type: ignore[arg-type]  # a role was checked before it was stored
        intent=entry.intent,
        type=content["type"],
        verified=content.get("verified", False),
        joined=entry.at,
        joins=1 if before is None else before.joins + 1,
    )
    return {"participants": {**state.participants, entry.participant: attendance}}


def _left(state: SessionState, entry: Entry) -> dict[str, Any]:
    found = state.participants.get(entry.participant)
    if found is None:
        return {}
    held = {key: lease for key, lease in state.leases.items() if lease.participant != entry.participant}
    return {
        "participants": {**state.participants, entry.participant: replace(found, present=False)},
        "leases": held,
    }


def _reverted(state: SessionState, entry: Entry) -> dict[str, Any]:
    """A request whose change a validator refused is decided again if it is repeated, and refused again."""
    of = entry.content["of"]
    return {
        "answered": {
            participant: {key: answer for key, answer in own.items() if answer["revision"] != of}
            for participant, own in state.answered.items()
        }
    }


def _operation(state: SessionState, entry: Entry) -> dict[str, Any]:
    if (accepted := entry.content.get("proposal")) is not None:
        return {"proposals": _without(state.proposals, accepted)}
    return {}


def _proposed(state: SessionState, entry: Entry) -> dict[str, Any]:
    content = entry.content
    proposal = Proposal(
        id=content["proposal"],
        participant=entry.participant,
        title=content["title"],
        revision=entry.revision,
        revisions=tuple(content["revisions"]),
        change=content["change"],
    )
    proposals = {**state.proposals, proposal.id: proposal}
    for key in list(proposals)[:-MOST_PROPOSALS]:
        del proposals[key]
    return {"proposals": proposals}


def _conflict(state: SessionState, entry: Entry) -> dict[str, Any]:
    content = entry.content
    conflict = Conflict(
        id=content["conflict"],
        revision=entry.revision,
        region=content["region"],
        ours=content["ours"],
        theirs=content["theirs"],
        winner=content["winner"] if content["status"] == "priority" else "",
    )
    conflicts = {**state.conflicts, conflict.id: conflict}
    if conflict.winner:
        settled = [key for key, each in conflicts.items() if each.winner]
        for key in settled[:-MOST_SETTLED]:
            del conflicts[key]
    return {"conflicts": conflicts}


def _decided(state: SessionState, entry: Entry) -> dict[str, Any]:
    return {"conflicts": _without(state.conflicts, entry.content["conflict"])}


def _noted(state: SessionState, entry: Entry) -> dict[str, Any]:
    content = entry.content
    note = Note(
        id=content["note"],
        type=content["type"],
        text=content["text"],
        thread=content["thread"],
        participant=entry.participant,
        role=entry.role,
        revision=entry.revision,
        at=entry.at,
        verdict=content.get("verdict", ""),
    )
    count, size = state.noted.get(entry.participant, (0, 0))
    noted = {**state.noted, entry.participant: (count + 1, size + len(note.text.encode()))}
    notes = {"notes": {**state.notes, note.id: note}, "noted": noted}
    if (anchor := content.get("anchor")) is None:
        return notes
    return notes | {"anchors": {**state.anchors, note.id: Anchor(region=anchor["region"], quote=anchor["quote"])}}


def _leased(state: SessionState, entry: Entry) -> dict[str, Any]:
    content = entry.content
    lease = RegionLease(
        id=content["lease"],
        participant=entry.participant,
        intent=entry.intent,
        region=content["region"],
        until=content["until"],
    )
    return {"leases": {**state.leases, lease.id: lease}}


def _released(state: SessionState, entry: Entry) -> dict[str, Any]:
    return {"leases": _without(state.leases, entry.content["lease"])}


def _confirmed(state: SessionState, entry: Entry) -> dict[str, Any]:
    found = state.participants.get(entry.participant)
    return {"confirmed": {**state.confirmed, OWNER_ID if found is None else found.name: entry.revision}}


def _closed(state: SessionState, entry: Entry) -> dict[str, Any]:
    content = entry.content
    closure = Closure(
        at=entry.at,
        revision=entry.revision,
        reason=content["reason"],
        sha256=content["sha256"],
        body=content["body"],
        media_type=content["media_type"],
    )
    return {"closure": closure, "leases": {}}


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {each: value for each, value in mapping.items() if each != key}


_FOLDS: Final[Mapping[str, Callable[[SessionState, Entry], dict[str, Any]]]] = MappingProxyType(
    {
        "joined": _joined,
        "left": _left,
        "operation": _operation,
        "reverted": _reverted,
        "rolled_back": _nothing,
        "proposed": _proposed,
        "conflict": _conflict,
        "decided": _decided,
        "noted": _noted,
        "leased": _leased,
        "released": _released,
        "confirmed": _confirmed,
        "closed": _closed,
    }
)
