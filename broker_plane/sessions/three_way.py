"""Three-way merges in which one side wins. Pure.

Changes that only one side made, or both alike, are kept; where both changed the same place, the result has the winner's
version. The rules merge like this after the policy, an arbiter or a participant has decided who wins. Nobody's edit is
overwritten silently: the loser's version is in the entry of a conflict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import orjson

from broker_plane.sessions import text_ops
from broker_plane.sessions.alignment import MOST_STEPS, most_steps
from broker_plane.sessions.canonical import plain
from broker_plane.sessions.json_differences import from_documents
from broker_plane.sessions.replaced_spans import replaced_spans
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Value
from broker_plane.sessions.text_differences import from_texts
from broker_plane.sessions.text_walk import append, trim

_ABSENT = object()
_MOST_PAIRS = 1_000_000
"""Above this many pairs of items, the changed part of a list is merged as one place."""

Span = tuple[int, int, int, int]
"""A place that differs: start and end in the base, start and end on the other side."""

_Side = tuple[Any, list[Span]]
"""A text or list, and where it differs from the base."""


def difference(kind: ArtifactKind, before: Value, after: Value) -> Change | None:
    """The edit that turns one value into another, as `edits.edit_change` makes them; None if they are equal."""
    return (from_texts(before, after) if kind == "text" else from_documents(before, after)) or None


def applied(kind: ArtifactKind, value: Value, edit: Change) -> Value:
    """The value after an edit. Raises ChangeError if it does not fit."""
    replica = new_replica(kind, "patch", value)
    replica.apply(edit)
    return replica.value


def merged(base: Value, loser: Value, winner: Value) -> Value:
    """The value with the changes of both sides, where `winner` has its way in all places that both changed.

    A text in JSON is one place: two edits of it are never mixed.
    """
    if _same(winner, base) or _same(winner, loser):
        return loser
    if _same(loser, base):
        return winner
    match base, loser, winner:
        case list(), list(), list():
            parts = _merged_sequence(base, (loser, _list_spans(base, loser)), (winner, _list_spans(base, winner)))
            return [item for _, part in parts for item in part]
        case dict(), dict(), dict():
            return _merged_object(base, loser, winner)
    return winner


def winning_edit(kind: ArtifactKind, base: Value, since: Sequence[Change], edit: Change) -> Change | None:
    """The edit of the artifact after `since` that brings in an `edit` of the same base, which wins; None for no change.

    Each span that an edit of a text replaces is one place, even if the new text has something in common with the old.
    """
    now = base
    for each in since:
        now = applied(kind, now, each)
    after = applied(kind, base, edit)
    if kind != "text":
        return difference(kind, now, merged(base, now, after))
    op: text_ops.Op = []
    for ours, result in _merged_sequence(base, (now, replaced_spans(since)), (after, replaced_spans([edit]))):
        for component in (len(ours),) if ours == result else ({"d": ours}, result):
            append(op, component)
    return trim(op) or None


def _merged_object(base: dict[str, Any], loser: dict[str, Any], winner: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in [*loser, *(name for name in winner if name not in loser)]:
        ours, theirs, old = (side.get(name, _ABSENT) for side in (loser, winner, base))
        if theirs is _ABSENT:
            value = ours if old is _ABSENT else _ABSENT
        elif ours is _ABSENT:
            value = _ABSENT if old is not _ABSENT and _same(theirs, old) else theirs
        else:
            value = merged(None if old is _ABSENT else old, ours, theirs)
        if value is not _ABSENT:
            found[name] = value
    return found


def _merged_sequence(base: Any, losing: _Side, winning: _Side) -> Iterator[tuple[Any, Any]]:
    """The parts of a merged text or list, in order: what the loser has there, and the result."""
    at = 0
    loser, winner = losing[0], winning[0]
    for cluster in _clusters(losing[1], winning[1]):
        yield base[at : cluster.start], base[at : cluster.start]
        at = cluster.end
        old = base[cluster.start : at]
        ours = _image(cluster, cluster.loser, loser, old)
        theirs = _image(cluster, cluster.winner, winner, old)
        if not cluster.loser or not cluster.winner:
            yield ours, theirs if cluster.winner else ours
        elif isinstance(base, list) and len(old) == len(ours) == len(theirs):
            yield ours, [merged(*each) for each in zip(old, ours, theirs, strict=True)]
        else:
            yield ours, ours + theirs if not old and ours != theirs else theirs
    yield base[at:], base[at:]


@dataclass(slots=True)
class _Cluster:
    """A place of the base, with the spans of each side that touch it and each other."""

    start: int
    end: int
    loser: list[Span]
    winner: list[Span]


def _image(cluster: _Cluster, spans: Sequence[Span], side: Any, old: Any) -> Any:
    """What a side has in the place of a cluster; the old one if it has not changed it."""
    if not spans:
        return old
    first, last = spans[0], spans[-1]
    return side[first[2] - (first[0] - cluster.start) : last[3] + (cluster.end - last[1])]


def _clusters(loser: Sequence[Span], winner: Sequence[Span]) -> Iterator[_Cluster]:
    found: _Cluster | None = None
    # An insertion comes before a span that is replaced right after it, so that they do not seem to overlap.
    for _, _, is_winner, span in sorted(
        [(*span[:2], False, span) for span in loser] + [(*span[:2], True, span) for span in winner]
    ):
        if found is not None and _touches(found, span):
            found.end = max(found.end, span[1])
        else:
            if found is not None:
                yield found
            found = _Cluster(span[0], span[1], [], [])
        (found.winner if is_winner else found.loser).append(span)
    if found is not None:
        yield found


def _touches(cluster: _Cluster, span: Span) -> bool:
    """Whether a span, which does not start before the cluster, has a place in common with it."""
    same_insertion = cluster.start == cluster.end == span[0] == span[1]
    return span[0] < cluster.end or same_insertion


def _list_spans(before: list[Any], after: list[Any]) -> list[Span]:
    base, other = ([_key(each) for each in side] for side in (before, after))
    shorter = min(len(base), len(other))
    head = next((place for place in range(shorter) if base[place] != other[place]), shorter)
    rest = shorter - head
    tail = next((place for place in range(rest) if base[-1 - place] != other[-1 - place]), rest)
    old, new = base[head : len(base) - tail], other[head : len(other) - tail]
    if len(old) * len(new) > _MOST_PAIRS or most_steps(old, new) > MOST_STEPS or not old or not new:
        return [(head, head + len(old), head, head + len(new))] if old or new else []
    opcodes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(head + a, head + b, head + c, head + d) for tag, a, b, c, d in opcodes if tag != "equal"]


def _same(first: Value, second: Value) -> bool:
    """Whether two JSON values are equal; for Python, True is 1 as well."""
    return first is second or (first == second and _key(first) == _key(second))


def _key(value: Value) -> bytes:
    """Equal values have equal keys. A document of Yjs gives its members in any order, and whole numbers as floats."""
    return orjson.dumps(plain(value), option=orjson.OPT_SORT_KEYS)
