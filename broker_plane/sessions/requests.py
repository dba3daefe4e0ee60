"""Requests of participants, as frozen dataclasses. Pure; `request_parser` makes them of JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from broker_plane.sessions.participants import ANONYMOUS_NAME, ParticipantType
from broker_plane.sessions.regions import Region

NoteType = Literal["constraint", "decision", "question", "answer", "reference", "verdict", "comment"]
NOTE_TYPES: Final = ("constraint", "decision", "question", "answer", "reference", "verdict", "comment")
VERDICTS: Final = ("approve", "request_changes")

MOST_ENTRIES: Final = 500
USUAL_ENTRIES: Final = 100
MOST_TEXT: Final = 8 << 10
"""Maximum size of a note's text and of a message, in bytes."""
MOST_STATE: Final = 2 << 10
"""Maximum size of the state and the place that `present` tells, as JSON, in bytes."""
MOST_SECONDS: Final = 300
USUAL_SECONDS: Final = 30
"""Seconds of a lease."""
MOST_ID: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The members that every request may have."""

    do: ClassVar[str]
    name: str = ANONYMOUS_NAME
    type: ParticipantType = "agent"
    intent: str = ""
    request: str = ""
    """A client's own id of the request, so that a repeated one is applied once; empty if it will not be repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowRequest(Request):
    do = "show"
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest(Request):
    do = "log"
    after: int = 0
    limit: int = USUAL_ENTRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRequest(Request):
    """`end` is None for the newest revision; on the wire it is `to`."""

    do = "diff"
    start: int
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest(Request):
    do = "join"
    value: bool = True
    """Whether the answer has the artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveRequest(Request):
    do = "leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentRequest(Request):
    do = "present"
    at: Mapping[str, Any] | None = None
    state: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteRequest(Request):
    """`anchored` is the region of the note's anchor, in the artifact of revision `base` (None: the newest)."""

    do = "note"
    note_type: NoteType
    text: str
    thread: str = ""
    anchored: bool = False
    region: Region = None
    base: int | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeRequest(Request):
    """`edit` is as it came; `edit_change` of the replicas reads it. `stale` is None for the default of the sync."""

    do = "propose"
    base: int
    region: Region = None
    edit: Any
    message: str = ""
    stale: Literal["report", "merge"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest(Request):
    """`change` is bytes (an update of Yjs) or a list of components (`ot`)."""

    do = "update"
    base: int | None = None
    change: bytes | list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideRequest(Request):
    """`choice` is ours, theirs or other; for other, `edit` is as it came.

    `base` is the newest revision that the decider has read; None if it has read no further than the conflict.
    """

    do = "decide"
    conflict: str
    choice: Literal["ours", "theirs", "other"]
    edit: Any = None
    base: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest(Request):
    do = "lease"
    region: Region = None
    seconds: int = USUAL_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRequest(Request):
    do = "release"
    lease: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRequest(Request):
    do = "rollback"
    to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRequest(Request):
    """The revisions after `since` of a participant, or of an intent. `of_intent` is the member `intent` on the wire."""

    do = "undo"
    participant: str = ""
    of_intent: str = ""
    since: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRequest(Request):
    do = "accept"
    proposal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRequest(Request):
    do = "confirm"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRequest(Request):
    do = "close"
    reason: str = ""
