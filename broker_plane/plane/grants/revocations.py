"""The revocations that this process knows of, and the deliveries that are cancelled by one.

The entry in `bp_grants` is authoritative. A watch copies revocations here, so that grants of unlimited use need no
read of their own; while the watch is not `complete`, callers read the entry instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

from broker_plane.errors import GrantRevokedError

_FEW = 1024


class Revocations:
    """Ids of revoked grants, kept until the grants would have expired, and the running deliveries by grant."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.complete = False
        """Whether every revocation so far is in here: the watch is up and has read all earlier entries."""
        self.cut = 0
        """The number of deliveries that a revocation cancelled."""
        self._now = now
        self._until: dict[str, int] = {}
        self._prune_at = _FEW
        self._running: dict[str, set[anyio.CancelScope]] = {}
        self._watchers: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, grant_id: str) -> bool:
        return grant_id in self._until

    def add(self, grant_id: str, until: int) -> None:
        """Cancel the running deliveries of `grant_id`, whose revocation is kept until the unix second `until`."""
        self._until[grant_id] = until
        for scope in self._running.get(grant_id, ()):
            self.cut += not scope.cancel_called
            scope.cancel()
        for call in self._watchers:
            call()
        if len(self._until) >= self._prune_at:
            now = self._now()
            self._until = {known: end for known, end in self._until.items() if end > now}
            self._prune_at = max(_FEW, 2 * len(self._until))

    def watch(self, call: Callable[[], None]) -> None:
        """Call `call` after each revocation that is added from now on, and once now if there are any."""
        self._watchers.append(call)
        if self._until:
            call()

    def unwatch(self, call: Callable[[], None]) -> None:
        """Undo `watch`."""
        self._watchers.remove(call)

    @contextmanager
    def guarding(self, grant_id: str) -> Iterator[None]:
        """Run the block until the grant is revoked.

        Raises:
            GrantRevokedError: the grant was revoked; the block was cancelled.
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
