"""What the sessions of one process share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker_plane.plane.fairness.work import Work

if TYPE_CHECKING:
    from broker_plane.plane.sessions.closing import Results
    from broker_plane.plane.sessions.ports import SessionLog
    from broker_plane.plane.sessions.validation import SessionValidators

EVERY_ENTRIES: Final = 500
"""The number of entries between two snapshots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTools:
    """Ports and clocks. `now` is in unix seconds; `holder` names the process."""

    log: SessionLog
    results: Results
    validators: SessionValidators
    work: Work
    now: Callable[[], float]
    holder: str
    snapshot_entries: int = EVERY_ENTRIES
    vanished_seconds: float = 5.0
    """How long a participant whose last connection has ended keeps its leases: it may connect again."""
