"""The numbers that say what an entry of the bucket `bp_grants` is: the first item of each msgpack list.

Entries of several kinds stand in one bucket, and older bridges read what newer ones wrote, so no number is given twice
or given again. A new kind of entry takes the next free number here.
"""

from __future__ import annotations

from typing import Final

OLD_STATE: Final = 1
"""State of a counted grant, by a version whose leases name their asker only, without `lapsed`: nobody's leases now."""

OLD_STATE_OF_CHAINS: Final = 2
"""The same, of a grant that is counted more than once."""

REVOKED: Final = 3
"""A grant of which nothing holds but that it is revoked, and until when that stands; an older reader refuses it."""

COLLECTION: Final = 4
ELECTED_SWEEPER: Final = 5
LEDGER: Final = 6
UPLOAD: Final = 7
STATE: Final = 8
STATE_OF_CHAINS: Final = 9
KEY_RING_NOTE: Final = 10
