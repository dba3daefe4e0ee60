"""Regions of an artifact: a span of a text, or a path in JSON and tables (RFC 6901). Pure.

A region is `{"start": n, "end": m}` in code points, or `{"path": "/pointer"}`; None is the whole artifact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from broker_plane.errors import ChangeError, WireError
from broker_plane.sessions.members import Members
from broker_plane.sessions.replicas.port import ArtifactKind, Value

Region = Mapping[str, Any] | None

MAX_PATH = 4096
"""Maximum size of a path in bytes."""

_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z")


def parse_region(given: object) -> Region:
    """A region from a request.

    Raises:
        WireError: it is neither a span nor a path; the message names the member.
    """
    if given is None:
        return None
    members = Members(given, "`region`")
    if members.has("path"):
        path = members.text("path", most=MAX_PATH)
        members.finish()
        tokens(path)
        return {"path": path}
    start, end = members.integer("start"), members.integer("end")
    members.finish()
    if end < start:
        raise WireError("`end` of `region` must not be below `start`")
    return {"start": start, "end": end}


def check_region(kind: ArtifactKind, region: Region, value: Value) -> None:
    """Find out whether a region is within the artifact.

    A path may name one place that does not exist yet: a new member of an object, or the end of a list.

    Raises:
        ChangeError: it is not, or it is a region of another kind of artifact.
    """
    if region is None:
        return
    if kind == "text":
        if "path" in region:
            raise ChangeError('A region of a text is {"start": n, "end": m}')
        if region["end"] > len(value):
            raise ChangeError(f"The region ends at {region['end']}; the text has {len(value)} characters")
        return
    if "path" not in region:
        raise ChangeError('A region of JSON and of a table is {"path": "/pointer"}')
    names = tokens(region["path"])
    if names:
        _child(_parent(value, names), names[-1], region["path"])


def content(kind: ArtifactKind, region: Region, value: Value) -> Value:
    """The part of the artifact in a region; None for a path where nothing is."""
    if region is None:
        return value
    if kind == "text":
        return value[region["start"] : region["end"]]
    found = value
    for name in tokens(region["path"]):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and (place := _place(name)) is not None and place < len(found):
            found = found[place]
        else:
            return None
    return found


def exists(kind: ArtifactKind, region: Region, value: Value) -> bool:
    """Whether something is at a region; a member whose value is null is something."""
    if region is None or kind == "text":
        return True
    names = tokens(region["path"])
    if not names:
        return True
    parent = content(kind, {"path": pointer(names[:-1])}, value)
    if isinstance(parent, Mapping):
        return names[-1] in parent
    return isinstance(parent, list) and (place := _place(names[-1])) is not None and place < len(parent)


def overlap(first: Region, second: Region) -> bool:
    """Whether an edit of one touches the other.

    Spans overlap if they share a character, or if an empty one is strictly within the other, or both are the same
    place. Paths overlap if one is the other or leads to it.
    """
    if first is None or second is None:
        return True
    if "path" in first or "path" in second:
        one, other = tokens(first.get("path", "")), tokens(second.get("path", ""))
        shorter = min(len(one), len(other))
        return one[:shorter] == other[:shorter]
    if first["start"] == first["end"] or second["start"] == second["end"]:
        if (first["start"], first["end"]) == (second["start"], second["end"]):
            return True
        return bool(first["start"] < second["end"] and second["start"] < first["end"])
    return bool(first["start"] < second["end"] and second["start"] < first["end"])


def tokens(path: str) -> tuple[str, ...]:
    """The names that a JSON pointer consists of, unescaped.

    Raises:
        WireError: it is not a JSON pointer (RFC 6901).
    """
    if not path:
        return ()
    if not path.startswith("/") or "~" in path.replace("~0", "").replace("~1", ""):
        raise WireError("`path` must be a JSON pointer (RFC 6901): empty, or /name/0")
    return tuple(name.replace("~1", "/").replace("~0", "~") for name in path[1:].split("/"))


def pointer(names: Sequence[str]) -> str:
    """The JSON pointer of names."""
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


def describe(region: Region) -> str:
    """A region in words, for messages to people."""
    if region is None:
        return "the whole artifact"
    if "path" in region:
        return f"the path {region['path'] or '/'}"
    return f"characters {region['start']} to {region['end']}"


def _place(name: str) -> int | None:
    """The index that a name of a pointer means in a list: digits without leading zeros."""
    return int(name) if _INDEX.match(name) else None


def _parent(value: Value, names: tuple[str, ...]) -> Any:
    parent = value
    for place, name in enumerate(names[:-1]):
        parent = _child(parent, name, pointer(names[: place + 1]))
        if parent is None:
            raise ChangeError(f"The artifact has nothing at {pointer(names[: place + 1])}")
    return parent


def _child(parent: Any, name: str, path: str) -> Any:
    """The member `name`; None if it could be added. Raises ChangeError where there cannot be one."""
    if isinstance(parent, Mapping):
        return parent.get(name)
    if isinstance(parent, list):
        place = len(parent) if name == "-" else _place(name)
        if place is not None and place <= len(parent):
            return parent[place] if place < len(parent) else None
    raise ChangeError(f"The artifact has nothing at {path}")
