"""Reads requests: JSON objects in, the dataclasses of `requests` out. Pure.

`do` names the operation. `id` belongs to the connection and is ignored here. A member that the operation does not have
is an error, so that a misspelt one is not silently left out.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from broker_plane.errors import WireError
from broker_plane.sessions.members import Members, check_json, check_size
from broker_plane.sessions.participants import parse_name
from broker_plane.sessions.regions import parse_region
from broker_plane.sessions.requests import (
    MOST_ENTRIES,
    MOST_ID,
    MOST_SECONDS,
    MOST_STATE,
    MOST_TEXT,
    NOTE_TYPES,
    USUAL_ENTRIES,
    USUAL_SECONDS,
    VERDICTS,
    Request,
)


def parse_request(given: object) -> Request:
    """The request in a JSON object.

    Raises:
        WireError: there is no such operation, or a member is unknown, missing or not valid; the message names it.
        TooLargeError: a text is too long.
    """
    members = Members(given, "The request")
    members.any("id", None)
    do = members.any("do")
    parse = _PARSERS.get(do) if isinstance(do, str) else None
    if parse is None:
        raise WireError(f"`do` must be one of {', '.join(_PARSERS)}")
    members.what = f"A request to {do}"
    own = parse(members)
    if do != "undo":
        own["intent"] = members.text("intent", None, most=MOST_ID) or ""
    kind = members.choice("type", ("agent", "human"), "agent") if do != "note" else "agent"
    name = parse_name(members.any("name", None))
    request = members.text("request", None, most=MOST_ID) or ""
    members.finish()
    return _CLASSES[do](name=name, type=kind, request=request, **own)


def _show(members: Members) -> dict[str, Any]:
    return {"revision": members.integer("revision", None, least=1)}


def _log(members: Members) -> dict[str, Any]:
    return {
        "after": members.integer("after", 0),
        "limit": members.integer("limit", USUAL_ENTRIES, least=1, most=MOST_ENTRIES),
    }


def _diff(members: Members) -> dict[str, Any]:
    return {"start": members.integer("from", least=1), "end": members.integer("to", None, least=1)}


def _join(members: Members) -> dict[str, Any]:
    return {"value": members.flag("value", True)}


def _nothing(members: Members) -> dict[str, Any]:
    return {}


def _present(members: Members) -> dict[str, Any]:
    return {"at": _small(members, "at"), "state": _small(members, "state")}


def _small(members: Members, name: str) -> Mapping[str, Any] | None:
    value = members.any(name, None)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise WireError(f"`{name}` of a request to present must be an object")
    check_size(value, name, MOST_STATE)
    return value


def _note(members: Members) -> dict[str, Any]:
    """`type` is the type of the note here; of whom it comes from is known since it joined."""
    kind = members.choice("type", NOTE_TYPES)
    anchor = members.any("anchor", None)
    found: dict[str, Any] = {
        "note_type": kind,
        "text": members.text("text", most=MOST_TEXT, least=1),
        "thread": members.text("thread", None, most=MOST_ID) or "",
        "base": members.integer("base", None, least=1),
        "verdict": members.choice("verdict", VERDICTS, None) or "",
    }
    if (kind == "verdict") != bool(found["verdict"]):
        raise WireError(f"A note needs `verdict` ({' or '.join(VERDICTS)}) exactly if its type is verdict")
    if kind == "answer" and not found["thread"]:
        raise WireError("An answer needs `thread`: the id of the note that it answers")
    if anchor is not None:
        inner = Members(anchor, "`anchor`")
        found |= {"anchored": True, "region": parse_region(inner.any("region", None))}
        inner.finish()
    return found


def _propose(members: Members) -> dict[str, Any]:
    edit = members.any("edit")
    check_json(edit, "edit")
    return {
        "base": members.integer("base", least=1),
        "region": parse_region(members.any("region", None)),
        "edit": edit,
        "message": members.text("message", None, most=MOST_TEXT) or "",
        "stale": members.choice("stale", ("report", "merge"), None),
    }


def _update(members: Members) -> dict[str, Any]:
    return {"base": members.integer("base", None, least=1), "change": _change(members.any("change"))}


def _change(value: object) -> bytes | list[Any]:
    if isinstance(value, bytes | list):
        return value if isinstance(value, bytes) else _components(value)
    if isinstance(value, str):
        try:
            return b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise WireError("`change` must be base64, as RFC 4648 defines it in section 4") from error
    raise WireError("`change` must be base64 of an update (crdt), or a list of components (ot)")


def _components(value: list[Any]) -> list[Any]:
    check_json(value, "change")
    return value


def _decide(members: Members) -> dict[str, Any]:
    choice = members.any("choice")
    found: dict[str, Any] = {
        "conflict": members.text("conflict", most=MOST_ID, least=1),
        "base": members.integer("base", None, least=1),
    }
    if choice in ("ours", "theirs"):
        return found | {"choice": choice}
    if not isinstance(choice, dict) or set(choice) != {"edit"}:
        raise WireError('`choice` must be "ours", "theirs" or {"edit": ...}')
    check_json(choice["edit"], "edit")
    return found | {"choice": "other", "edit": choice["edit"]}


def _lease(members: Members) -> dict[str, Any]:
    return {
        "region": parse_region(members.any("region", None)),
        "seconds": members.integer("seconds", USUAL_SECONDS, least=1, most=MOST_SECONDS),
    }


def _release(members: Members) -> dict[str, Any]:
    return {"lease": members.text("lease", most=MOST_ID, least=1)}


def _rollback(members: Members) -> dict[str, Any]:
    return {"to": members.integer("to", least=1)}


def _undo(members: Members) -> dict[str, Any]:
    found = {
        "participant": members.text("participant", None, most=MOST_ID) or "",
        "of_intent": members.text("intent", None, most=MOST_ID) or "",
        "since": members.integer("since", 0),
    }
    if bool(found["participant"]) == bool(found["of_intent"]):
        raise WireError("A request to undo needs `participant` or `intent`, and not both")
    return found


def _accept(members: Members) -> dict[str, Any]:
    return {"proposal": members.text("proposal", most=MOST_ID, least=1)}


def _close(members: Members) -> dict[str, Any]:
    return {"reason": members.text("reason", None, most=MOST_TEXT) or ""}


_PARSERS: Final[Mapping[str, Callable[[Members], dict[str, Any]]]] = MappingProxyType(
    {
        "show": _show,
        "log": _log,
        "diff": _diff,
        "join": _join,
        "leave": _nothing,
        "present": _present,
        "note": _note,
        "propose": _propose,
        "update": _update,
        "decide": _decide,
        "lease": _lease,
        "release": _release,
        "rollback": _rollback,
        "undo": _undo,
        "accept": _accept,
        "confirm": _nothing,
        "close": _close,
    }
)
_CLASSES: Final[Mapping[str, Callable[..., Request]]] = MappingProxyType(
    {each.do: each for each in Request.__subclasses__()}
)
