"""The record of a body that is deleted once all its grants are used up: its grants, and which are done. Pure.

It is kept in `bp_grants` under the body id and changes by compare-and-set like every other entry. The id of a grant of
such a body ends in its number in the record, so marking it done sets a bit. That is idempotent, also after an error
with an unknown outcome, and no wrong count can delete a body too early.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID

import msgpack

from broker_plane.errors import BodyNotFoundError, GrantRefusedError, TooLargeError
from broker_plane.wire.entry_formats import COLLECTION

MOST_GRANTS = 1 << 18
"""Maximum number of grants of one body: an entry has a bit for each, and is rewritten as a whole."""

_PLACE_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class UseRecord:
    """`count` grants were minted; `done` has a bit for each that is used up or revoked. `expires` is the body's.

    `pinned`: a grant has unlimited uses, so the body stays until it expires. `freed`: all grants are done.
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
    """A record without grants; `random` has 16 bytes."""
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
    """`record` with `count` more grants, numbered after the existing ones.

    Raises:
        BodyNotFoundError: all grants were done already, and the body was deleted.
        TooLargeError: there would be too many.
    """
    if record.freed:
        raise BodyNotFoundError("Every grant of this body was used, and it was deleted. Publish it again")
    if record.count + count > MOST_GRANTS:
        raise TooLargeError(f"A body that is deleted after its last use has at most {MOST_GRANTS} grants")
    return replace(record, count=record.count + count, pinned=record.pinned or unlimited)


def grant_ids(record: UseRecord, count: int) -> list[bytes]:
    """The ids of the last `count` grants of `record`."""
    places = range(record.count - count, record.count)
    return [record.prefix + place.to_bytes(_PLACE_BYTES, "big") for place in places]


def with_done(record: UseRecord, ids: Iterable[bytes]) -> UseRecord:
    """`record` with these grants done, and freed if no other is left. Ids of other records are ignored."""
    done = record.done
    for grant_id in ids:
        place = int.from_bytes(grant_id[-_PLACE_BYTES:], "big")
        if grant_id[:-_PLACE_BYTES] == record.prefix and place < record.count:
            done |= 1 << place
    complete = record.count > 0 and not record.pinned and done == (1 << record.count) - 1
    return replace(record, done=done, freed=record.freed or complete)
