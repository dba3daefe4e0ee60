"""Maps with keys other than texts. Texts have secret hashes; numbers can be chosen so that all hashes are equal.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from broker_plane.errors import EncodingError

MOST_KEYS = (1 << 16) - 1
"""Maximum number of keys of a map whose keys are not all texts."""

_MOST_CLASHES = 32


def check_hashes(keys: Iterable[Any]) -> None:
    """Raise EncodingError if so many of `keys` have the same hash that a dict of them would take minutes."""
    found: dict[int, Any] = {}
    clashes = 0
    for key in keys:
        clashes += found.setdefault(hash(key), key) != key
        if clashes > _MOST_CLASHES:
            raise EncodingError("The keys of a map all have the same hash; nothing but an attack makes such keys")
