"""The state of a session at one revision, all but the artifact: immutable records. Pure; `folds` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.sessions.anchors import Anchor
from broker_plane.sessions.participants import OWNER_ID, PLANE_ID, Participant, ParticipantType, hidden
from broker_plane.sessions.policy import Policy
from broker_plane.sessions.regions import Region
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Sync
from broker_plane.sessions.roles import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendance:
    """A participant who joined, and whether it has left. Times are in unix seconds."""

    id: str
    name: str
    role: Role
    intent: str
    type: ParticipantType
    verified: bool
    joined: float
    present: bool = True
    joins: int = 1
    """How often it has joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionLease:
    """A region that a participant works on until `until` (unix seconds)."""

    id: str
    participant: str
    intent: str
    region: Region
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """An entry of the blackboard. The first note of a thread has its own id as `thread`."""

    id: str
    type: str
    text: str
    thread: str
    participant: str
    role: str
    revision: int
    at: float
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Two edits of one region. `region` is where it is now; both sides are as their entry has them."""

    id: str
    revision: int
    region: Region
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]
    winner: str = ""
    """`ours` or `theirs` if the priorities of the intents settled it; empty as long as it waits for a decision."""

    @property
    def is_open(self) -> bool:
        return not self.winner


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A change that waits to be accepted: an edit of the artifact at `revision`, as `edits.edit_change` makes them."""

    id: str
    participant: str
    title: str
    revision: int
    revisions: tuple[int, ...]
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """How the session ended: the body that the artifact became, and the SHA-256 of its canonical form."""

    at: float
    revision: int
    reason: str
    sha256: str
    body: str
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """Everything but the artifact at one revision. Mappings keep the order in which their members came."""

    session: str
    kind: ArtifactKind
    sync: Sync
    policy: Policy
    revision: int
    created: float
    secret: str = ""
    """The key of the pseudonyms of an anonymous session; no answer and no event has it."""
    changed: int = 1
    """The newest revision that changed the artifact."""
    participants: Mapping[str, Attendance] = field(default_factory=dict)
    leases: Mapping[str, RegionLease] = field(default_factory=dict)
    notes: Mapping[str, Note] = field(default_factory=dict)
    noted: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """How many notes each participant has written, and the bytes of their texts in UTF-8."""
    anchors: Mapping[str, Anchor] = field(default_factory=dict)
    """Of the notes that have one, by the id of the note."""
    conflicts: Mapping[str, Conflict] = field(default_factory=dict)
    """Those that wait, and the newest of those that priority settled."""
    proposals: Mapping[str, Proposal] = field(default_factory=dict)
    confirmed: Mapping[str, int] = field(default_factory=dict)
    """Names of participants, each with the revision at which it confirmed."""
    closure: Closure | None = None
    answered: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """What to answer to the newest requests that had an id, if they are repeated, by participant and that id."""
    clients: Mapping[int, str] = field(default_factory=dict)
    """For `crdt`: the participant whose change first used each Yjs client id."""

    @property
    def has_regions(self) -> bool:
        """Whether anything has to move along when the artifact changes."""
        return bool(self.anchors or self.leases or self.conflicts)

    def shown(self, who: Participant) -> Participant:
        """A participant as others see it: in an anonymous session under a pseudonym."""
        return hidden(who, self.secret or self.session) if self.policy.anonymous else who

    def is_present(self, participant: str) -> bool:
        """Whether a participant has joined and not left; always for the owner and the plane."""
        found = self.participants.get(participant)
        return participant in (OWNER_ID, PLANE_ID) or (found is not None and found.present)

    def leases_at(self, now: float) -> list[RegionLease]:
        """The leases that have not expired."""
        return [lease for lease in self.leases.values() if now < lease.until]
