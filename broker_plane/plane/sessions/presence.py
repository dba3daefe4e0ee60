"""The presence of participants: broadcast on a subject of the session, and stored nowhere.

A message is `{"presence": [...]}`, with `{id, name, at, state}` or `{id, name, gone: true}` for each participant that
has changed, or `{"awareness": base64}`, an update of y-protocols. A bridge repeats those that are connected to it; a
participant of whom nothing was heard for some time is gone.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from broker_plane.plane.sessions.followers import Aware, Here

GONE_SECONDS: Final = 30.0
"""Without a word for this long, a participant is gone."""

REPEAT_SECONDS: Final = 10.0

_MOST_HERE: Final = 10_000


@dataclass(slots=True)
class _Present:
    told: Mapping[str, Any]
    since: float
    heard: float


class Presence:
    """The participants that are here, as one process has heard. `now` is in unix seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._here: dict[str, _Present] = {}

    def __contains__(self, participant: str) -> bool:
        return participant in self._here

    def state_of(self, participant: str) -> Mapping[str, Any] | None:
        """What a participant last said of itself: `{id, name, at, state}`."""
        found = self._here.get(participant)
        return None if found is None else found.told

    def now_here(self) -> Here:
        """Everybody who is here."""
        return Here(tuple(_shown(each) for each in self._here.values()))

    def hear(self, raw: bytes) -> Here | Aware | None:
        """What a message changes; None if nothing, or if it is not one of ours."""
        try:
            fields = orjson.loads(raw)
            if isinstance(fields, dict) and isinstance(fields.get("awareness"), str):
                return Aware(b64decode(fields["awareness"], validate=True))
            told = fields["presence"] if isinstance(fields, dict) else ()
            changed = [self._heard(each) for each in told if isinstance(each, dict) and isinstance(each.get("id"), str)]
        except (orjson.JSONDecodeError, Base64Error, KeyError, TypeError):
            return None
        shown = tuple(each for each in changed if each is not None)
        return Here(shown) if shown else None

    def expired(self) -> Here | None:
        """Forget those of whom nothing was heard for a while."""
        until = self._now() - GONE_SECONDS
        gone = [key for key, each in self._here.items() if each.heard < until]
        told = tuple(_gone(self._here.pop(key).told) for key in gone)
        return Here(told) if told else None

    def _heard(self, told: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take in what one participant tells, and return what others have to know of it."""
        key, now = told["id"], self._now()
        before = self._here.get(key)
        if told.get("gone"):
            return None if self._here.pop(key, None) is None else _gone(told)
        if before is None and len(self._here) >= _MOST_HERE:
            return None
        kept = {name: told.get(name) for name in ("id", "name", "at", "state")}
        if before is not None and before.told == kept:
            before.heard = now
            return None
        self._here[key] = _Present(kept, now if before is None else before.since, now)
        return _shown(self._here[key])


def presence_message(told: Iterable[Mapping[str, Any]]) -> bytes:
    """The message that tells the presence of participants."""
    return orjson.dumps({"presence": list(told)})


def awareness_message(update: bytes) -> bytes:
    """The message that relays an awareness update."""
    return orjson.dumps({"awareness": b64encode(update).decode()})


def _shown(each: _Present) -> dict[str, Any]:
    return {**each.told, "since": each.since}


def _gone(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": told["id"], "name": told.get("name"), "gone": True}
