"""The numbers of the entry formats in the bucket `bp_grants`: the first item of each msgpack list.

Entries of several kinds share one bucket, and older bridges read entries of newer ones, so no number is used twice or
reused. A new kind of entry takes the next free number here.
"""

from __future__ import annotations

from typing import Final

OLD_STATE: Final = 1
"""State of a counted grant, by a version whose leases had only the asker's name and no `lapsed`."""

OLD_STATE_OF_CHAINS: Final = 2
"""The same, for a grant with several counters."""

REVOKED: Final = 3
"""A revoked grant, and until when the entry is kept; older readers refuse it."""

COLLECTION: Final = 4
ELECTED_SWEEPER: Final = 5
LEDGER: Final = 6
UPLOAD: Final = 7
STATE: Final = 8
STATE_OF_CHAINS: Final = 9
KEY_RING_NOTE: Final = 10
