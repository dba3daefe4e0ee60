"""Which grants are revoked, as far as this process has heard, and the deliveries that end when theirs is.

The entry in `bp_grants` is the truth. This is what a watch of it has brought here, so that a grant of unlimited use
needs no read of its own; while the watch is not `complete`, whoever asks reads the entry instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

from broker_plane.errors import GrantRevokedError

_FEW = 1024


class Revocations:
    """Ids of revoked grants until their grants have expired anyway, and what runs on grants that are not."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.complete = False
        """Whether every revocation so far is in here: the watch is up, and has read what was before it."""
        self.cut = 0
        """Deliveries that a revocation ended."""
        self._now = now
        self._until: dict[str, int] = {}
        self._prune_at = _FEW
        self._running: dict[str, set[anyio.CancelScope]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, grant_id: str) -> bool:
        return grant_id in self._until

    def add(self, grant_id: str, until: int) -> None:
        """`grant_id` is revoked; its entry stands until the unix second `until`. What runs on it ends."""
        self._until[grant_id] = until
        for scope in self._running.get(grant_id, ()):
            self.cut += not scope.cancel_called
            scope.cancel()
        if len(self._until) >= self._prune_at:
            now = self._now()
            self._until = {known: stands for known, stands in self._until.items() if stands > now}
            self._prune_at = max(_FEW, 2 * len(self._until))

    @contextmanager
    def guarding(self, grant_id: str) -> Iterator[None]:
        """Run the block unless and until the grant is revoked.

        Raises:
            GrantRevokedError: in the place of whatever the block was waiting for.
        """
        if grant_id in self._until:
            raise GrantRevokedError
        with anyio.CancelScope() as scope:
            running = self._running.setdefault(grant_id, set())
            running.add(scope)
            try:
                yield
            finally:
                running.discard(scope)
                if not running:
                    self._running.pop(grant_id, None)
        if scope.cancelled_caught:
            raise GrantRevokedError
