"""How much work an update of Yjs may make, whatever its size. Pure.

Yjs joins the structs that a client makes one after another before it sends them. Structs that could have been joined,
and were not, take yrs a time that grows with the square of their number: 30,000 in 190 KB take half a minute.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from broker_plane.errors import TooLargeError
from broker_plane.wire.yjs_updates import Struct, Update, read_update

MOST_STRUCTS: Final = 20_000
"""Structs and deletions of one update: 20,000 characters, each typed offline at another place, in 0.1 s. Typed in words
they are a third of that, and typed in one place they are one struct."""

MOST_UNJOINED: Final = 500
"""Structs in a row that each continue the one before, and could be one. Yjs itself leaves a few, beside deletions."""

_JOINED: Final = frozenset({"string", "any", "json", "deleted"})


def read_bounded(raw: bytes) -> Update:
    """The parts of an update from a client.

    Raises:
        WireError: it is not an update of version 1.
        TooLargeError: it would take too long to apply.
    """
    update = read_update(raw, MOST_STRUCTS)
    row = 0
    for first, second in pairwise(update.structs):
        row = row + 1 if _continues(first, second) else 0
        if row > MOST_UNJOINED:
            raise TooLargeError(
                f"The update has more than {MOST_UNJOINED} structs that continue each other; join them, as "
                "encodeStateAsUpdate of Yjs does, or send fewer at a time"
            )
    return update


def _continues(first: Struct, second: Struct) -> bool:
    return (
        second.client == first.client
        and second.kind == first.kind
        and second.kind in _JOINED
        and second.origin == (first.client, second.clock - 1)
        and second.right_origin == first.right_origin
    )
