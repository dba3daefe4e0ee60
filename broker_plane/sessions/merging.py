"""Merges a change that was made on an older revision: what does not overlap is kept, what overlaps is named. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker_plane.sessions import json_patch, text_ops
from broker_plane.sessions.json_rebase import carry, rebase
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Value
from broker_plane.sessions.text_spans import Span, spans, without


@dataclass(frozen=True, slots=True)
class Overlap:
    """A place that both sides changed."""

    index: int
    """Which of the changes since the base it is, from 0."""
    region: Mapping[str, Any]
    """Where it is in the artifact now, after all of them: `{"start", "end"}` in code points, or `{"path"}`."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A change that applies to the artifact now, and where it overlaps with what happened since its base.

    The change has the last word where it overlaps: it deletes what it deleted of the base, keeps what others inserted,
    and replaces members that others replaced. Its operations inside of a place that others removed are left out.
    """

    change: Change
    overlaps: tuple[Overlap, ...] = ()


def merge(kind: ArtifactKind, base_value: Value, since: Sequence[Change], change: Change) -> Merged:
    """Rebase `change`, which was made on `base_value`, over the changes `since` then, in their order.

    All of them are changes as `edits.edit_change` makes them: operations of `text_ops` for a text, else patches in the
    normal form of `json_patch`. A change to a place that is the same on both sides is no overlap, and is done once.

    Raises:
        ChangeError: one of them does not fit.
    """
    return _merge_texts(base_value, since, change) if kind == "text" else _merge_documents(base_value, since, change)


def _merge_texts(text: str, since: Sequence[Change], change: Change) -> Merged:
    op = text_ops.parse(change, text)
    text_ops.check_fits(op, text)
    overlaps: list[Overlap] = []
    for index, each in enumerate(since):
        other = text_ops.parse(each, text)
        text = text_ops.apply(other, text)
        overlaps = [Overlap(old.index, _carried(old.region, other)) for old in overlaps]
        op, found = _over_text(op, other)
        overlaps += [Overlap(index, region) for region in found]
    return Merged(op, tuple(overlaps))


def _over_text(op: text_ops.Op, other: text_ops.Op) -> tuple[text_ops.Op, list[Mapping[str, Any]]]:
    theirs = spans(other)
    op = without(op, [each for each in theirs if not each.only_inserts])
    found: list[Mapping[str, Any]] = []
    for mine in spans(op):
        for each in theirs:
            if _overlap(mine, each):
                hull = {"start": min(mine.start, each.start), "end": max(mine.end, each.end)}
                found.append(_carried(hull, other))
    return text_ops.transform(op, other, "right"), found


def _overlap(first: Span, second: Span) -> bool:
    """Whether two replaced spans share a character, or one is an insert inside the other."""
    if first.only_inserts and second.only_inserts:
        return False
    return max(first.start, second.start) < min(first.end, second.end) or (
        (first.only_inserts and second.start < first.start < second.end)
        or (second.only_inserts and first.start < second.start < first.end)
    )


def _carried(region: Mapping[str, Any], op: text_ops.Op) -> dict[str, int]:
    """A span after an operation; what is inserted at its edges belongs to it."""
    return {
        "start": text_ops.carry(op, region["start"], "left"),
        "end": text_ops.carry(op, region["end"], "right"),
    }


def _merge_documents(document: Value, since: Sequence[Change], change: Change) -> Merged:
    patch = json_patch.parse(change, document)
    overlaps: list[Overlap] = []
    for index, each in enumerate(since):
        other, after = json_patch.parse_and_apply(each, document)
        patch, places = rebase(patch, other, document)
        overlaps = [Overlap(old.index, {"path": _path_after(old.region["path"], other, document)}) for old in overlaps]
        overlaps += [Overlap(index, {"path": place}) for place in dict.fromkeys(places)]
        document = after
    return Merged(patch, tuple(overlaps))


def _path_after(path: str, patch: json_patch.Patch, document: Value) -> str:
    """Where a place is after a patch."""
    draft = json_patch.DocumentDraft(document)
    for operation in patch:
        path = carry(path, operation, draft.document)
        draft.do(operation)
    return path
