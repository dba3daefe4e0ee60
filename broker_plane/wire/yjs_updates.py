"""Reads an update of Yjs (version 1) without applying it, so that a hostile one never reaches a document. Pure.

An update is a list of structs for each client, then the ranges that it deletes. A struct occupies `length` clocks of
its client; lengths of texts are in UTF-16 units. The source is the encoding that yjs 13.6 reads and writes
(`src/utils/encoding.js`, `src/structs`).
"""

from __future__ import annotations

import msgspec

from broker_plane.errors import TooLargeError, WireError
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.yjs_varints import Reader

LARGEST_CLOCK = (1 << 31) - 1
"""Yjs counts in floats, yrs in 32 bits; a client that got this far takes a new id."""

Id = tuple[int, int]
"""A client, and one of its clocks."""

TYPES = {0: "array", 1: "map", 2: "text", 3: "xml element", 4: "xml fragment", 5: "xml hook", 6: "xml text"}
_WITH_NAME = {"xml element", "xml hook"}


class Struct(msgspec.Struct, frozen=True, gc=False):
    """One struct. `content` is the text of a "string", the values of "any" and "json", the name of a "type"."""

    client: int
    clock: int
    length: int
    kind: str
    """gc, skip, deleted, json, binary, string, embed, format, type, any or doc."""
    content: object = None
    origin: Id | None = None
    right_origin: Id | None = None
    root: str | None = None
    """The shared type that it is in, if the update names it; else it is found through its origins or `parent`."""
    parent: Id | None = None
    key: str | None = None


class Deletion(msgspec.Struct, frozen=True, gc=False):
    """A range of clocks that an update deletes."""

    client: int
    clock: int
    length: int


class Update(msgspec.Struct, frozen=True):
    """What an update has in it."""

    structs: tuple[Struct, ...]
    """By client, and for each client by clock without gaps: `skip` fills them."""
    deletions: tuple[Deletion, ...]


def read_update(raw: bytes, most: int = LARGEST_CLOCK) -> Update:
    """The parts of an update.

    Raises:
        WireError: it is not an update of version 1, or has numbers that no client counts to.
        TooLargeError: it has more than `most` structs, or more than `most` deletions; found before it is read.
    """
    reader = Reader(raw)
    structs: list[Struct] = []
    for _ in range(reader.count()):
        count, client, clock = reader.count(), reader.uint(), reader.uint(LARGEST_CLOCK)
        _check_count(len(structs) + count, most, "structs")
        for _ in range(count):
            struct = _struct(reader, client, clock)
            clock += struct.length
            if clock > LARGEST_CLOCK:
                raise WireError("An update of Yjs has a clock that is too large")
            structs.append(struct)
    deletions = _deletions(reader, most)
    reader.end()
    return Update(tuple(structs), deletions)


def read_state(raw: bytes) -> dict[int, int]:
    """A state vector: of each client the clock up to which everything is known.

    Raises:
        WireError: it is not a state vector.
    """
    reader = Reader(raw)
    state = {reader.uint(): reader.uint(LARGEST_CLOCK) for _ in range(reader.count())}
    reader.end()
    return state


def units(text: str) -> int:
    """The length of a text in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise TooLargeError(f"The update of Yjs has {count} {what} or more; at most {most} are taken at a time")


def _deletions(reader: Reader, most: int) -> tuple[Deletion, ...]:
    found: list[Deletion] = []
    for _ in range(reader.count()):
        client, count = reader.uint(), reader.count()
        _check_count(len(found) + count, most, "deletions")
        for _ in range(count):
            clock, length = reader.uint(LARGEST_CLOCK), reader.uint(LARGEST_CLOCK)
            if clock + length > LARGEST_CLOCK:
                raise WireError("An update of Yjs deletes clocks that are too large")
            found.append(Deletion(client, clock, length))
    return tuple(found)


def _struct(reader: Reader, client: int, clock: int) -> Struct:
    info = reader.byte()
    code = info & 0x1F
    if code in (0, 10):
        return Struct(client, clock, _length(reader), "skip" if code else "gc")
    origin = _id(reader) if info & 0x80 else None
    right_origin = _id(reader) if info & 0x40 else None
    root = parent = key = None
    if not info & 0xC0:
        if reader.uint(1):
            root = reader.text()
        else:
            parent = _id(reader)
        key = reader.text() if info & 0x20 else None
    kind, length, content = _content(reader, code)
    return Struct(client, clock, length, kind, content, origin, right_origin, root, parent, key)


def _id(reader: Reader) -> Id:
    return reader.uint(), reader.uint(LARGEST_CLOCK)


def _length(reader: Reader) -> int:
    length = reader.uint(LARGEST_CLOCK)
    if not length:
        raise WireError("An update of Yjs has a struct without a length")
    return length


def _content(reader: Reader, code: int) -> tuple[str, int, object]:
    """The kind, the length in clocks, and the content of an item."""
    match code:
        case 1:
            return "deleted", _length(reader), None
        case 2:
            texts = [reader.text() for _ in range(_some(reader))]
            return "json", len(texts), texts
        case 3:
            return "binary", 1, reader.blob()
        case 4:
            text = reader.text()
            if not text:
                raise WireError("An update of Yjs inserts an empty text")
            return "string", units(text), text
        case 5:
            return "embed", 1, _json(reader)
        case 6:
            return "format", 1, (reader.text(), _json(reader))
        case 7:
            return "type", 1, _type(reader)
        case 8:
            values = [reader.any() for _ in range(_some(reader))]
            return "any", len(values), values
        case 9:
            return "doc", 1, (reader.text(), reader.any())
        case _:
            raise WireError(f"An update of Yjs has content of the unknown type {code}")


def _some(reader: Reader) -> int:
    count = reader.count()
    if not count:
        raise WireError("An update of Yjs has a struct without a length")
    return count


def _type(reader: Reader) -> str:
    name = TYPES.get(code := reader.uint())
    if name is None:
        raise WireError(f"An update of Yjs has a shared type of the unknown number {code}")
    if name in _WITH_NAME:
        reader.text()
    return name


def _json(reader: Reader) -> object:
    try:
        return loads(reader.text())
    except MALFORMED as error:
        raise WireError("An update of Yjs has a value that is not JSON") from error
