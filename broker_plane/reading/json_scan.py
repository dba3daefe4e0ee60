"""Finds the members of lists and objects in a JSON text, as parts of that text. Pure.

One byte of JSON can become a list of 56 bytes, so only short parts are decoded at once. The text is checked first: see
`check_json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from broker_plane.errors import WireError

JsonPart = bytes | memoryview
"""The text of one value."""

_SHORT_BYTES = 1 << 16
"""A list or object up to this size is decoded at once, one level deep: a call into C takes less than a millisecond."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb'[^"\[\]{}]*+(?:' + _STRING + rb'[^"\[\]{}]*+)*+'


def _nested(inner: bytes) -> bytes:
    return rb"[\[{]" + _FLAT + rb"(?:" + inner + _FLAT + rb")*+[\]}]"


# Possessive throughout, so that no text makes them backtrack. The text was checked, so that they need not be strict.
_LIST = _nested(_nested(_nested(_nested(rb"(?!)"))))
_SKIPPED = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb"|" + _LIST + rb")*+", re.DOTALL)
_ITEMS = re.compile(rb'(?:(?:[^"\[\]{},]++|' + _STRING + rb"|" + _LIST + rb")++,)*+", re.DOTALL)
_SCALAR = re.compile(_STRING + rb'|[^\s,\[\]{}":]++', re.DOTALL)
_NAME = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_PIECE = re.compile(_STRING + rb'|[ \t\r\n]++|[^" \t\r\n]{1,4096}+', re.DOTALL)

_ITEM_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBER_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NAME_DECODER = msgspec.json.Decoder(str)


class NotJsonError(WireError):
    """A text is not JSON."""


def check_json(raw: bytes) -> JsonPart:
    """The value of a whole text.

    Raises:
        NotJsonError: it is not JSON.
    """
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _no_json(error) from error
    start = _blank(raw, 0)
    return memoryview(raw)[start : _end(raw, start)]


def kind_of(part: JsonPart) -> str:
    """`object`, `array`, `string`, `number`, `boolean` or `null`."""
    return _KINDS.get(part[0], "number")


def items(part: JsonPart) -> Iterator[JsonPart]:
    """The elements of an array, in order. Raises NotJsonError as `members`."""
    if len(part) <= _SHORT_BYTES:
        yield from _items_of(part)
        return
    place = _blank(part, 1)
    end = bytes(part[place : place + 1])
    while end != b"]":
        found = _ITEMS.match(part, place, place + _SHORT_BYTES)
        if found is not None and found.end() > place:
            yield from _items_of(b"[%b]" % bytes(part[place : found.end() - 1]))
            place = found.end()
        else:
            start = _blank(part, place)
            stop = _end(part, start)
            yield part[start:stop]
            place, end = _after(part, stop)


def members(part: JsonPart) -> Iterator[tuple[str, JsonPart]]:
    """The names and values of an object, in order; of a short one with each name once.

    Raises:
        NotJsonError: a text has half of a surrogate pair, which is found only where it is decoded.
    """
    if len(part) <= _SHORT_BYTES:
        yield from ((name, bytes(value)) for name, value in _members_of(part).items())
        return
    place = _blank(part, 1)
    end = bytes(part[place : place + 1])
    while end != b"}":
        found = _NAME.match(part, place)
        assert found is not None  # noqa: S101  # the text was checked
        stop = _end(part, found.end())
        yield _name(found[1]), part[found.end() : stop]
        place, end = _after(part, stop)


def member(part: JsonPart, name: str) -> JsonPart | None:
    """The value with this name: the last one, as JSON readers do; None if there is none. Raises as `members`."""
    if len(part) <= _SHORT_BYTES:
        found = _members_of(part).get(name)
        return None if found is None else bytes(found)
    last = None
    for each, value in members(part):
        if each == name:
            last = value
    return last


def compact(part: JsonPart, most_bytes: int) -> bytes:
    """The text of a value without blanks; of a longer one a beginning with more than `most_bytes` bytes."""
    pieces: list[bytes] = []
    size = 0
    for found in _PIECE.finditer(part):
        start, stop = found.span()
        if part[start] in b" \t\r\n":
            continue
        pieces.append(bytes(part[start : min(stop, start + most_bytes + 1)]))
        size += len(pieces[-1])
        if size > most_bytes:
            break
    return b"".join(pieces)


def _items_of(part: JsonPart) -> Iterator[bytes]:
    try:
        return map(bytes, _ITEM_DECODER.decode(part))
    except msgspec.DecodeError as error:
        raise _no_json(error) from error


def _members_of(part: JsonPart) -> dict[str, msgspec.Raw]:
    try:
        return _MEMBER_DECODER.decode(part)
    except msgspec.DecodeError as error:
        raise _no_json(error) from error


def _name(raw: bytes) -> str:
    try:
        return _NAME_DECODER.decode(raw)
    except msgspec.DecodeError as error:
        raise _no_json(error) from error


def _no_json(error: Exception) -> NotJsonError:
    said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return NotJsonError(f"This body is not JSON ({said:.150}); read it with grep, rows or page")


def _end(part: JsonPart, start: int) -> int:
    """Where the value that begins at `start` ends."""
    if part[start] not in b"[{":
        found = _SCALAR.match(part, start)
        assert found is not None  # noqa: S101  # the text was checked
        return found.end()
    depth, place = 1, start + 1
    while depth:
        skipped = _SKIPPED.match(part, place, place + _SHORT_BYTES)
        place = skipped.end() if skipped else place
        if part[place] in b"]}":
            depth, place = depth - 1, place + 1
        elif part[place] in b"[{":  # a long or deep one
            depth, place = depth + 1, place + 1
        elif part[place] == ord('"'):  # a long text
            text = _SCALAR.match(part, place)
            assert text is not None  # noqa: S101  # as above
            place = text.end()
    return place


def _after(part: JsonPart, place: int) -> tuple[int, bytes]:
    """The place after what separates a value that ends at `place` from the next, or ends them; and that."""
    place = _blank(part, place)
    return place + 1, bytes(part[place : place + 1])


def _blank(part: JsonPart, place: int) -> int:
    found = _BLANKS.match(part, place)
    return found.end() if found else place


_KINDS = {
    ord("{"): "object",
    ord("["): "array",
    ord('"'): "string",
    ord("t"): "boolean",
    ord("f"): "boolean",
    ord("n"): "null",
}
