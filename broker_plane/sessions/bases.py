"""What changed since a base: the edits since then, and where a region of the base is now. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from broker_plane.sessions import text_ops
from broker_plane.sessions.decisions import Turn
from broker_plane.sessions.movements import PathMovement, carry_region, text_movement
from broker_plane.sessions.regions import Region, pointer, tokens
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.sessions.replicas.port import ArtifactKind, Change
from broker_plane.sessions.three_way import difference


def edits_since(turn: Turn, base: int, to: int | None = None) -> list[Change]:
    """The edits, as `edits.edit_change` makes them, that lead from the artifact at `base` to that at `to`.

    `to` is None for the newest. Those of `crdt` are one: the difference of the two.
    """
    state = turn.state
    if state.sync != "crdt":
        return [entry.change for entry in turn.since(base) if to is None or entry.revision <= to]
    after = turn.folded.value if to is None else turn.base_value(to)
    found = difference(state.kind, turn.base_value(base), after)
    return [] if found is None else [found]


def composed(edits: Sequence[text_ops.Op]) -> text_ops.Op:
    """One text operation that does all, one after another."""
    whole: text_ops.Op = []
    for edit in edits:
        whole = text_ops.compose(whole, edit)
    return whole


def region_now(turn: Turn, region: Region, base: int, to: int | None = None) -> Region:
    """Where a region of the artifact at `base` is in that at `to`, None for the newest."""
    state = turn.state
    replica = new_replica(state.kind, "patch", turn.base_value(base)) if state.kind != "text" else None
    for edit in edits_since(turn, base, to):
        if replica is None:
            region = carry_region(region, text_movement(edit))
        else:
            region = carry_region(region, PathMovement(edit, replica.value))
            replica.apply(edit)
    return region


def touched(kind: ArtifactKind, edit: Change) -> list[Region]:
    """The regions of the artifact that an edit of it changes."""
    if kind == "text":
        return [{"start": each.start, "end": each.end} for each in text_movement(edit).edits]
    paths = {step[name] for step in edit for name in ("path", "from") if name in step and step["op"] != "test"}
    return [{"path": path} for path in sorted(paths)]


def hull(kind: ArtifactKind, edit: Change) -> Region:
    """The smallest region of the artifact that has everything that an edit changes."""
    regions = touched(kind, edit)
    if kind == "text":
        starts, ends = ([each[name] for each in regions if each] for name in ("start", "end"))
        return {"start": min(starts), "end": max(ends)} if regions else {"start": 0, "end": 0}
    names = [tokens(each["path"]) for each in regions if each]
    return {"path": _common(names)}


def _common(paths: Sequence[tuple[str, ...]]) -> str:
    """The longest path that leads to all of them."""
    common: list[str] = []
    for each in zip(*paths, strict=False):
        if len(set(each)) > 1:
            break
        common.append(each[0])
    return pointer(common)
