"""How a change gets into the log: it is checked against limits, artifact and leases, and then drafted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from broker_plane.errors import TooLargeError
from broker_plane.sessions import leases
from broker_plane.sessions.bases import touched
from broker_plane.sessions.decisions import Turn
from broker_plane.sessions.entries import EntryKind
from broker_plane.sessions.replicas.port import Change


def operate(
    turn: Turn,
    edit: Change,
    content: Mapping[str, Any],
    *,
    base: int,
    kind: EntryKind = "operation",
    bounded: bool = True,
) -> dict[str, Any]:
    """Say an edit of the newest artifact; return the parts of the answer that are about it.

    An edit that changes nothing adds no entry; the answer then has `unchanged`. With `bounded` the change itself is
    limited; those that the rules make of what is in the log already are not.

    Raises:
        ChangeError: it does not fit the artifact.
        TooLargeError: the change, or the artifact after it, would be larger than the policy allows.
        RegionLeasedError: another participant has leased a part of what it changes.
    """
    change = turn.folded.replica.change_for(edit)
    if not change:
        return {"revision": turn.revision, "unchanged": True}
    check(turn, change, bounded=bounded)
    warning = leases.check(turn, touched(turn.state.kind, edit)) if leases.are_held_by_others(turn) else ""
    revision = turn.say(kind, {"change": change, **content}, base=base)
    return {"revision": revision, **({"warning": warning} if warning else {})}


def check(turn: Turn, change: Change, *, bounded: bool = True) -> None:
    """Find out whether a change is within the limits and fits. Raises ChangeError, TooLargeError."""
    limits = turn.policy.limits
    size = len(change) if isinstance(change, bytes) else len(msgspec.json.encode(change))
    if bounded and size > limits.change_bytes:
        raise TooLargeError(
            f"The change has {size} bytes; the policy allows {limits.change_bytes} (limits.change_bytes)"
        )
    turn.folded.replica.check(change, limits.document_bytes)
