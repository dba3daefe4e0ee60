"""Finds the members of lists and objects in a JSON text, as ranges of its bytes, without making values of them. Pure.

One byte of JSON can become a list of 56 bytes, so a whole text is never decoded. The text is checked first: see
`check_json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import orjson

from broker_plane.errors import WireError

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb'[^"\[\]{}]*+(?:' + _STRING + rb'[^"\[\]{}]*+)*+'
_SHORT_BYTES = 1 << 16
"""A list or object up to this size is skipped by one call into C, which takes less than a millisecond."""


def _nested(inner: bytes) -> bytes:
    return rb"[\[{]" + _FLAT + rb"(?:" + inner + _FLAT + rb")*+[\]}]"


# Possessive throughout, so that no text makes them backtrack.
_SHORT = re.compile(_nested(_nested(_nested(_nested(rb"(?!)")))), re.DOTALL)
_SCALAR = re.compile(_STRING + rb'|[^\s,\[\]{}":]++', re.DOTALL)
_BRACKET = re.compile(_FLAT + rb"([\[\]{}])", re.DOTALL)
_BLANK = re.compile(rb"[ \t\r\n]*+")
_TO_DROP = re.compile(_STRING + rb"|[ \t\r\n]++", re.DOTALL)


class NotJsonError(WireError):
    """A text is not JSON."""


class Span(NamedTuple):
    """A value in a text, from `start` to `stop`."""

    start: int
    stop: int


def check_json(raw: bytes) -> Span:
    """The value of a whole text.

    Raises:
        NotJsonError: it is not JSON.
    """
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise NotJsonError(f"This body is not JSON ({said:.150}); read it with grep, rows or page") from error
    start = _blank(raw, 0)
    return Span(start, _end(raw, start))


def kind_at(raw: bytes, value: Span) -> str:
    """`object`, `array`, `string`, `number`, `boolean` or `null`."""
    return _KINDS.get(raw[value.start], "number")


def items(raw: bytes, value: Span) -> Iterator[Span]:
    """The elements of an array, in order."""
    place = _blank(raw, value.start + 1)
    while raw[place] != ord("]"):
        found = Span(place, _end(raw, place))
        yield found
        place = _blank(raw, found.stop)
        if raw[place] == ord(","):
            place = _blank(raw, place + 1)


def members(raw: bytes, value: Span) -> Iterator[tuple[Span, Span]]:
    """The names and values of an object, in order."""
    place = _blank(raw, value.start + 1)
    while raw[place] != ord("}"):
        name = Span(place, _end(raw, place))
        place = _blank(raw, _blank(raw, name.stop) + 1)
        found = Span(place, _end(raw, place))
        yield name, found
        place = _blank(raw, found.stop)
        if raw[place] == ord(","):
            place = _blank(raw, place + 1)


def name_at(raw: bytes, name: Span) -> str:
    """The text of a member's name."""
    return str(decoded(raw, name))


def decoded(raw: bytes, value: Span) -> Any:
    """A value, for short ones."""
    return orjson.loads(raw[value.start : value.stop])


def compact(raw: bytes, value: Span, most_bytes: int) -> bytes:
    """The text of a value without blanks; of a longer one a beginning with more than `most_bytes` bytes."""
    pieces: list[bytes] = []
    size, place = 0, value.start
    for found in _TO_DROP.finditer(raw, value.start, value.stop):
        pieces.append(raw[place : found.start()])
        if found[0][:1] == b'"':
            pieces.append(found[0])
        size += found.end() - place
        place = found.end()
        if size > 2 * most_bytes and sum(map(len, pieces)) > most_bytes:
            return b"".join(pieces)
    pieces.append(raw[place : value.stop])
    return b"".join(pieces)


def _end(raw: bytes, start: int) -> int:
    """Where the value that begins at `start` ends."""
    if raw[start] not in b"[{":
        found = _SCALAR.match(raw, start)
        assert found is not None  # noqa: S101  # the text was checked
        return found.end()
    if short := _SHORT.match(raw, start, start + _SHORT_BYTES):
        return short.end()
    depth, place = 1, start + 1
    while depth:
        bracket = _BRACKET.match(raw, place)
        assert bracket is not None  # noqa: S101  # as above
        if bracket[1] in b"]}":
            depth, place = depth - 1, bracket.end()
        elif short := _SHORT.match(raw, bracket.start(1), bracket.start(1) + _SHORT_BYTES):
            place = short.end()
        else:
            depth, place = depth + 1, bracket.end()
    return place


def _blank(raw: bytes, place: int) -> int:
    found = _BLANK.match(raw, place)
    return found.end() if found else place


_KINDS = {
    ord("{"): "object",
    ord("["): "array",
    ord('"'): "string",
    ord("t"): "boolean",
    ord("f"): "boolean",
    ord("n"): "null",
}
