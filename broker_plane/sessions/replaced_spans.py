"""Where a text was changed by several operations, one after another. Pure.

Composing the operations would join edits that only touch, such as those of two lines. Here they stay two places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from broker_plane.sessions import text_spans
from broker_plane.sessions.text_ops import Op

Place = tuple[int, int, int, int]
"""Start and end in the text before all operations, start and end in the text after them."""


@dataclass(slots=True)
class _Cluster:
    """Earlier places and the spans of one more operation that overlap, in the text between them."""

    start: int
    end: int
    places: list[Place] = field(default_factory=list)
    edits: list[text_spans.Span] = field(default_factory=list)


def replaced_spans(ops: Sequence[Op]) -> list[Place]:
    """The places that operations changed, in order. Two places that share only an edge stay two.

    A text that is inserted into a place whose text was deleted belongs to that place.
    """
    places: list[Place] = []
    for op in ops:
        places = _with(places, text_spans.spans(op))
    return places


def _with(places: list[Place], edits: list[text_spans.Span]) -> list[Place]:
    found: list[Place] = []
    old_shift = new_shift = 0
    for each in _clusters(places, edits):
        start = each.start - old_shift
        if each.places:
            old_shift = each.places[-1][3] - each.places[-1][1]
        grown = sum(len(edit.inserted) - (edit.end - edit.start) for edit in each.edits)
        new_start, new_end = each.start + new_shift, each.end + new_shift + grown
        found.append((start, each.end - old_shift, new_start, new_end))
        new_shift += grown
    return found


def _clusters(places: list[Place], edits: list[text_spans.Span]) -> list[_Cluster]:
    items: list[tuple[int, int, Place | text_spans.Span]] = [(place[2], place[3], place) for place in places]
    items += [(edit.start, edit.end, edit) for edit in edits]
    items.sort(key=lambda item: item[:2])
    found: list[_Cluster] = []
    for start, end, item in items:
        last = found[-1] if found else None
        if last is None or not _overlaps(last, start, end, item):
            last = _Cluster(start, end)
            found.append(last)
        last.end = max(last.end, end)
        if isinstance(item, text_spans.Span):
            last.edits.append(item)
        else:
            last.places.append(item)
    return found


def _overlaps(cluster: _Cluster, start: int, end: int, item: Place | text_spans.Span) -> bool:
    """Whether an item, which does not start before the cluster, belongs to it."""
    refills = (
        isinstance(item, text_spans.Span) and bool(cluster.places) and cluster.start == cluster.end == start == end
    )
    return start < cluster.end or refills
