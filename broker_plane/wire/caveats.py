"""Caveats: limits that a holder adds under a grant's seal. Each can only narrow what the grant showed before.

    caveat = kind 1 | length 2 (big-endian) | payload, msgpack

A grant with an unknown kind of caveat is refused: what the caveat forbids cannot be guessed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from broker_plane.errors import GrantRefusedError, SelectorError, TooLargeError, WireError
from broker_plane.wire.names import parse_asker
from broker_plane.wire.rows import RowSet, unpack_rows
from broker_plane.wire.session_roles import Role, parse_role

_HEAD = struct.Struct(">BH")
_MOST_BYTES = 65_535
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}\Z")
_SESSION_NAME = re.compile(r"[a-z0-9_.-]{1,32}\Z")
"""An intent, or the name of a participant."""

MOST_USES = 65_535
_LARGEST = {"expires": 2**32 - 1, "uses": MOST_USES, "bytes": 2**63 - 1}


@dataclass(frozen=True, slots=True)
class Columns:
    """Only these columns; a name that was not shown before has no effect."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Only these rows, and of the remaining ones only the `first` ones in the body's order."""

    among: RowSet | None = None
    first: int | None = None


@dataclass(frozen=True, slots=True)
class Where:
    """Only rows for which the expression is true (wire/where.py)."""

    text: str


@dataclass(frozen=True, slots=True)
class Expires:
    """Expires at this unix second."""

    at: int


@dataclass(frozen=True, slots=True)
class Uses:
    """Maximum number of completed deliveries of the grant narrowed here and of all grants narrowed from it."""

    count: int


@dataclass(frozen=True, slots=True)
class Audience:
    """Only for the puller with this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Bytes:
    """Maximum size of a delivery, in bytes of the stored or cut body."""

    most: int


@dataclass(frozen=True, slots=True)
class Formats:
    """Only in one of these media types."""

    media_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Digest:
    """Only bytes with this SHA-256 (hex)."""

    sha256: str


@dataclass(frozen=True, slots=True)
class SessionRole:
    """At most this role in a session: editor, reviewer or observer."""

    role: Role


@dataclass(frozen=True, slots=True)
class SessionIntent:
    """Only with this intent in a session."""

    intent: str


@dataclass(frozen=True, slots=True)
class SessionName:
    """Only as the participant of a session with this name."""

    name: str


BodyCaveat = Columns | Rows | Where | Uses | Bytes | Formats | Digest
SessionCaveat = SessionRole | SessionIntent | SessionName
Caveat = BodyCaveat | SessionCaveat | Expires | Audience


def encode_caveat(caveat: Caveat) -> bytes:
    """The bytes of `caveat`.

    Raises:
        SelectorError: its content is not valid for its kind.
        TooLargeError: its content is too long.
    """
    kind, payload = _payload_of(caveat)
    try:
        _PARSERS[kind](payload)
        raw: bytes = msgpack.packb(payload)
    except (ValueError, WireError) as error:
        raise SelectorError(f"A grant cannot be narrowed to {_shown(caveat)}{_bound(caveat)}") from error
    if len(raw) > _MOST_BYTES:
        raise TooLargeError(f"A caveat of {len(raw)} bytes is too large for any grant; name rows as ranges or by where")
    return _HEAD.pack(kind, len(raw)) + raw


def split_caveats(raw: bytes) -> Iterator[bytes]:
    """The encoded caveats in `raw`, in order.

    Raises:
        GrantRefusedError: `raw` ends within a caveat.
    """
    start = 0
    while start < len(raw):
        stop = start + _HEAD.size
        if stop <= len(raw):
            stop += _HEAD.unpack_from(raw, start)[1]
        if stop > len(raw):
            raise GrantRefusedError("it ends within a caveat")
        yield raw[start:stop]
        start = stop


def decode_caveat(raw: bytes) -> Caveat:
    """The caveat that `encode_caveat` encoded.

    Raises:
        GrantRefusedError: its kind is unknown, or its payload is not valid for the kind.
    """
    parser = _PARSERS.get(raw[0])
    if parser is None:
        raise GrantRefusedError(f"caveat of kind {raw[0]}")
    try:
        return parser(msgpack.unpackb(raw[_HEAD.size :]))
    except (ValueError, WireError, msgpack.UnpackException) as error:
        raise GrantRefusedError(f"payload of a caveat of kind {raw[0]}") from error


def _payload_of(caveat: Caveat) -> tuple[int, Any]:
    match caveat:
        case Columns(names):
            return 1, list(names)
        case Rows(among, first):
            return 2, [None if among is None else among.pack(), first]
        case Where(text):
            return 3, text
        case Expires(at):
            return 4, at
        case Uses(count):
            return 5, count
        case Audience(name):
            return 6, name
        case Bytes(most):
            return 7, most
        case Formats(media_types):
            return 8, list(media_types)
        case Digest(sha256):
            return 9, bytes.fromhex(sha256)
        case SessionRole(role):
            return 10, role
        case SessionIntent(intent):
            return 11, intent
        case SessionName(name):
            return 12, name


def _rows(payload: Any) -> Rows:
    if not isinstance(payload, list) or len(payload) != 2:
        raise ValueError("rows and first")
    packed, first = payload
    among = None if packed is None else unpack_rows(packed)
    if packed is not None and among is None:
        raise ValueError("rows")
    return Rows(among, None if first is None else _whole(first, 2**53))


def _whole(payload: Any, largest: int) -> int:
    if type(payload) is not int or not 0 <= payload <= largest:
        raise ValueError("whole number")
    return payload


def _uses(payload: Any) -> Uses:
    if payload == 0:
        raise ValueError("0 is unlimited in a grant's head, and would widen here")
    return Uses(_whole(payload, _LARGEST["uses"]))


def _text(payload: Any) -> str:
    if not isinstance(payload, str):
        raise ValueError("text")
    return payload


def _texts(payload: Any) -> tuple[str, ...]:
    if not isinstance(payload, list):
        raise ValueError("texts")
    return tuple(map(_text, payload))


def _formats(payload: Any) -> Formats:
    media_types = _texts(payload)
    if not all(map(_MEDIA_TYPE.match, media_types)):
        raise ValueError("media types")
    return Formats(media_types)


def _sha256(payload: Any) -> str:
    if not isinstance(payload, bytes) or len(payload) != 32:
        raise ValueError("SHA-256")
    return payload.hex()


def _session_name(payload: Any) -> str:
    if not _SESSION_NAME.match(_text(payload)):
        raise ValueError("a name of 1 to 32 characters of a-z, 0-9, _, . and -")
    return str(payload)


_PARSERS: dict[int, Callable[[Any], Caveat]] = {
    1: lambda payload: Columns(_texts(payload)),
    2: _rows,
    3: lambda payload: Where(_text(payload)),
    4: lambda payload: Expires(_whole(payload, _LARGEST["expires"])),
    5: _uses,
    6: lambda payload: Audience(parse_asker(_text(payload))),
    7: lambda payload: Bytes(_whole(payload, _LARGEST["bytes"])),
    8: _formats,
    9: lambda payload: Digest(_sha256(payload)),
    10: lambda payload: SessionRole(parse_role(payload)),
    11: lambda payload: SessionIntent(_session_name(payload)),
    12: lambda payload: SessionName(_session_name(payload)),
}
"""By kind. Numbers are never reused."""


def _shown(caveat: Caveat) -> str:
    name = type(caveat).__name__.removeprefix("Session").lower()
    return f"{name} {_payload_of(caveat)[1]!r:.80}"


def _bound(caveat: Caveat) -> str:
    match caveat:
        case SessionRole():
            return ": a role is editor, reviewer or observer"
        case SessionIntent() | SessionName():
            return ": use 1 to 32 characters of a-z, 0-9, _, . and -"
    most = _LARGEST.get(type(caveat).__name__.lower())
    return f": at least 1, at most {most}" if most else ""
