"""Finds the members of JSON objects in a text, also between comments, so that one can be changed in place. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_STRING = r'"(?:[^"\\\n]|\\.)*"'
_COMMENTS = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING = re.compile(rf"({_STRING})|,(?=\s*[\]}}])")
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object: places in the text, half-open."""

    name: str
    start: int
    value: int
    end: int


@dataclass(frozen=True, slots=True)
class Object:
    """An object from its `{` to behind its `}`."""

    start: int
    end: int
    members: tuple[Member, ...]

    def member(self, name: str) -> Member | None:
        """The member of this name."""
        return next((member for member in self.members if member.name == name), None)


def without_comments(text: str) -> str:
    """JSON with spaces in place of its comments."""
    return _blanked(_COMMENTS, text)


def plain_json(text: str) -> str:
    """JSON with comments and trailing commas as plain JSON of the same length: each becomes spaces."""
    return _blanked(_TRAILING, without_comments(text))


def object_at(plain: str, start: int = 0) -> Object:
    """The object of valid, plain JSON that begins at or after `start`."""
    start = _skip(plain, start)
    place, members = _skip(plain, start + 1), []
    while plain[place] != "}":
        name, after = _DECODER.raw_decode(plain, place)
        value = _skip(plain, _skip(plain, after) + 1)
        _, end = _DECODER.raw_decode(plain, value)
        members.append(Member(name, place, value, end))
        place = _skip(plain, end)
        if plain[place] == ",":
            place = _skip(plain, place + 1)
    return Object(start, place + 1, tuple(members))


def _skip(plain: str, place: int) -> int:
    found = _SPACE.match(plain, place)
    return place if found is None else found.end()


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)
