"""The canonical form of an artifact, which its SHA-256 is of, and the check of a value from outside. Pure.

A text is its UTF-8. A JSON document is its JSON Canonicalization Scheme form (RFC 8785). A table is its rows in order,
each in that form and followed by a line feed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import rfc8785

from broker_plane.errors import ChangeError, TooLargeError, WireError
from broker_plane.sessions.replicas.port import ArtifactKind, Value

DEEPEST: Final = 64
"""Objects and arrays that may be inside each other, the outermost one included."""

_LARGEST = 2**53 - 1
_FIRST_WITH_EXPONENT = 1e21
"""From here on RFC 8785 writes a whole number with an exponent, as every reader of floats reads it."""


def canonical(kind: ArtifactKind, value: Value) -> bytes:
    """The canonical form of an artifact. Whole numbers are the same as ints and as floats.

    Raises:
        ChangeError: the value is not an artifact of this kind, as for `check_value`.
    """
    check_value(kind, value)
    if kind == "text":
        return str(value).encode()
    if kind == "table":
        return b"".join(rfc8785.dumps(row) + b"\n" for row in value)
    return rfc8785.dumps(value)


def sha256(kind: ArtifactKind, value: Value) -> str:
    """The SHA-256 of the canonical form, in hexadecimal."""
    return hashlib.sha256(canonical(kind, value)).hexdigest()


def media_type(kind: ArtifactKind) -> str:
    """The media type of the canonical form."""
    return {"text": "text/plain; charset=utf-8", "json": "application/json", "table": "application/x-ndjson"}[kind]


def check_value(kind: ArtifactKind, value: object, limit: int | None = None) -> None:
    """Find out whether `value` can be an artifact of this kind.

    Raises:
        ChangeError: it cannot; the message says what and where.
        TooLargeError: its canonical form has more than `limit` bytes.
        WireError: there is no such kind.
    """
    match kind, value:
        case "text", str(text):
            _check_text(text, "the text")
        case "json", _:
            check_json(value)
        case "table", list(rows):
            for number, row in enumerate(rows):
                if not isinstance(row, dict):
                    raise ChangeError(f"Row {number} of the table is not an object of columns")
            check_json(rows)
        case "text" | "table", _:
            raise ChangeError(f"An artifact of the kind {kind} is {'a list of rows' if kind == 'table' else 'a text'}")
        case _:
            raise WireError("An artifact is of the kind text, json or table")
    if limit is not None and len(canonical(kind, value)) > limit:
        raise TooLargeError(f"The artifact has more than {limit} bytes, the limit of this session")


def check_json(value: object, depth: int = DEEPEST) -> None:
    """Raise ChangeError unless `value` is JSON that RFC 8785 can express, at most `depth` levels deep."""
    level: list[tuple[str, object]] = [("", value)]
    for left in range(depth, -1, -1):
        if not left and any(isinstance(each, dict | list) for _, each in level):
            break
        level = [inner for pointer, each in level for inner in _children(pointer, each)]
        if not level:
            return
    raise ChangeError(f"The JSON value is nested deeper than {depth} levels")


def _children(pointer: str, value: object) -> Sequence[tuple[str, object]]:
    """The members of an object or array, each with its place; everything else is checked."""
    match value:
        case None | bool():
            return ()
        case int() | float():
            _check_number(value, pointer)
        case str():
            _check_text(value, f"the text at {pointer!r}")
        case list():
            return [(f"{pointer}/{index}", each) for index, each in enumerate(value)]
        case dict():
            return [(f"{pointer}/{_checked_name(name, pointer)}", each) for name, each in value.items()]
        case _:
            raise ChangeError(f"The value at {pointer!r} is not JSON, but of the type {type(value).__name__}")
    return ()


def _check_number(number: int | float, pointer: str) -> None:
    if isinstance(number, float) and not math.isfinite(number):
        raise ChangeError(f"The number at {pointer!r} is not finite")
    whole = isinstance(number, int) or (number.is_integer() and abs(number) < _FIRST_WITH_EXPONENT)
    if whole and abs(number) > _LARGEST:
        raise ChangeError(f"The whole number at {pointer!r} is beyond 2**53 - 1. Send it as a text")


def _checked_name(name: object, pointer: str) -> str:
    if not isinstance(name, str):
        raise ChangeError(f"The object at {pointer!r} has a member whose name is not a text")
    _check_text(name, f"a name at {pointer!r}")
    return name


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ChangeError(f"Character {error.start} of {where} is half of a surrogate pair") from error


def plain(value: Any) -> Any:
    """A copy of a JSON value in which whole numbers are ints: Yjs has only floats."""
    match value:
        case float() if value.is_integer() and abs(value) <= _LARGEST:
            return int(value)
        case Mapping():
            return {name: plain(each) for name, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case _:
            return value
