"""How many streams holders of grants follow at a time on one bridge: each is a connection and a subscription."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from broker_plane.errors import StreamLimitError
from broker_plane.plane.grants import Opened

PER_GRANT = 256
PER_OWNER = 1_024
IN_TOTAL = 2_048
_RETRY_SECONDS = 10.0


class Followers:
    """Counts them; one for all streams of a bridge."""

    def __init__(self, per_grant: int = PER_GRANT, per_owner: int = PER_OWNER, in_total: int = IN_TOTAL) -> None:
        self._per_grant = per_grant
        self._per_owner = per_owner
        self._in_total = in_total
        self._by_grant: Counter[str] = Counter()
        self._by_owner: Counter[str] = Counter()

    @contextmanager
    def place(self, opened: Opened) -> Iterator[None]:
        """One more stream of the grant, for the time of the block. Narrowed grants count as the one they come from.

        Raises:
            StreamLimitError: there are too many.
        """
        grant, owner = opened.grant.id, opened.owner
        full = (
            self._by_grant[grant] >= self._per_grant
            or self._by_owner[owner] >= self._per_owner
            or self._by_grant.total() >= self._in_total
        )
        if full:
            raise StreamLimitError(
                "This grant, or all of its publisher, follows as many streams as one bridge serves at a time. "
                "End one of them, or ask without a stream",
                retry_after=_RETRY_SECONDS,
            )
        self._by_grant[grant] += 1
        self._by_owner[owner] += 1
        try:
            yield
        finally:
            self._by_grant -= Counter({grant: 1})
            self._by_owner -= Counter({owner: 1})
