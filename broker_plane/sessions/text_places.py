"""How many places of a text an operation changes. Pure."""

from __future__ import annotations

from broker_plane.sessions.text_ops import Op
from broker_plane.sessions.text_walk import append, trim


def coarser(op: Op, text: str, most: int) -> Op:
    """An operation with the same result on `text`, in at most `most` places. The nearest ones are joined.

    For documents in which each place costs as much as the document is long. The text between joined places is
    replaced by itself.
    """
    gaps = sorted(component for component in op[1:] if isinstance(component, int))
    if len(gaps) < most:
        return op
    longest = gaps[len(gaps) - most]
    coarse: Op = []
    at = 0
    deleted = inserted = ""
    for number, component in enumerate(op):
        match component:
            case str():
                inserted += component
            case dict():
                deleted += component["d"]
                at += len(component["d"])
            case _:
                kept = text[at : at + component]
                at += component
                if number and component <= longest:
                    deleted, inserted = deleted + kept, inserted + kept
                    continue
                for each in ({"d": deleted}, inserted, component):
                    append(coarse, each)
                deleted = inserted = ""
    for each in ({"d": deleted}, inserted):
        append(coarse, each)
    return trim(coarse)
