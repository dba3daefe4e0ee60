"""The record of a body that is freed once all its grants are used up: which there are, and which are done. Pure.

It stands in `bp_grants` under the body id and changes by compare-and-set like every other entry. The id of a grant of
such a body ends in its place in the record, so that marking it done is setting a bit: to do that twice, or again after
an error whose outcome is unknown, changes nothing, and no count that went wrong can free a body too early.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID

import msgpack

from broker_plane.errors import BodyNotFoundError, GrantRefusedError, TooLargeError
from broker_plane.wire.entry_formats import COLLECTION

MOST_GRANTS = 1 << 18
"""Of one body: an entry has a bit for each, and is written whole."""

_PLACE_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class UseRecord:
    """`count` grants were minted; `done` has a bit for each that is used up or revoked. `expires` is the body's.

    `pinned`: one is of unlimited use, so that the body stays until it expires. `freed`: every one was done.
    """

    owner: str
    expires: int
    prefix: bytes
    count: int = 0
    done: int = 0
    pinned: bool = False
    freed: bool = False

    def pack(self) -> bytes:
        done = self.done.to_bytes((self.count + 7) // 8, "little")
        fields = [COLLECTION, self.owner, self.expires, self.prefix, self.count, done, self.pinned, self.freed]
        packed: bytes = msgpack.packb(fields)
        return packed


def new_use_record(owner: str, expires: int, random: bytes) -> UseRecord:
    """A record without grants; `random` are 16 bytes."""
    return UseRecord(owner=owner, expires=expires, prefix=UUID(bytes=random, version=4).bytes[:-_PLACE_BYTES])


def unpack_use_record(raw: bytes) -> UseRecord:
    """The record of an entry.

    Raises:
        GrantRefusedError: it is of a later format.
    """
    number, *fields = msgpack.unpackb(raw)
    if number != COLLECTION:
        raise GrantRefusedError(f"collection of format {number}")
    owner, expires, prefix, count, done, pinned, freed = fields
    return UseRecord(
        owner=owner,
        expires=expires,
        prefix=prefix,
        count=count,
        done=int.from_bytes(done, "little"),
        pinned=pinned,
        freed=freed,
    )


def with_grants(record: UseRecord, count: int, *, unlimited: bool) -> UseRecord:
    """`record` with `count` more grants, at the places behind those that it has.

    Raises:
        BodyNotFoundError: every grant was done already, and the body is freed.
        TooLargeError: it would have too many.
    """
    if record.freed:
        raise BodyNotFoundError("Every grant of this body was used, and it was freed. Publish it again")
    if record.count + count > MOST_GRANTS:
        raise TooLargeError(f"A body that is freed after its last use has at most {MOST_GRANTS} grants")
    return replace(record, count=record.count + count, pinned=record.pinned or unlimited)


def grant_ids(record: UseRecord, count: int) -> list[bytes]:
    """The ids of the last `count` grants of `record`."""
    places = range(record.count - count, record.count)
    return [record.prefix + place.to_bytes(_PLACE_BYTES, "big") for place in places]


def with_done(record: UseRecord, ids: Iterable[bytes]) -> UseRecord:
    """`record` with these grants done, and freed where no other is left. An id that is none of its own is nothing."""
    done = record.done
    for grant_id in ids:
        place = int.from_bytes(grant_id[-_PLACE_BYTES:], "big")
        if grant_id[:-_PLACE_BYTES] == record.prefix and place < record.count:
            done |= 1 << place
    complete = record.count > 0 and not record.pinned and done == (1 << record.count) - 1
    return replace(record, done=done, freed=record.freed or complete)
