"""CallBatches of durable calls: what is stored of a batch is removed at once, when all its calls are answered. Pure.

To remove each call by itself would cost more than to store it. nats-server stores nothing meanwhile, so the batches are
large: of calls one after the other, one in a thousand waits for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from broker_plane.transports.nats.wire_form import SESSION_LETTER, new_id

_MOST_CALLS = 1_024
_SECONDS = 10.0
"""How long a batch takes further calls."""


@dataclass(slots=True)
class _Batch:
    session: str
    until: float
    calls: int = 0
    open: set[str] = field(default_factory=set)


class CallBatches:
    """The calls of one client; each batch has a session of its own."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._batches: dict[str, _Batch] = {}
        self._current: _Batch | None = None

    def begin(self, exchange: str) -> str:
        """The session of a new call."""
        batch = self._current
        if batch is None or batch.calls >= _MOST_CALLS or self._now() > batch.until:
            batch = self._current = _Batch(SESSION_LETTER + new_id(), self._now() + _SECONDS)
            self._batches[batch.session] = batch
        batch.calls += 1
        batch.open.add(exchange)
        return batch.session

    def end(self, session: str, exchange: str) -> None:
        """A call is answered, or nobody waits for it."""
        if batch := self._batches.get(session):
            batch.open.discard(exchange)

    def finished(self, *, everything: bool = False) -> list[str]:
        """The sessions that have no open call, and get no more. With `everything` the newest gets no more, either."""
        current = self._current
        if current is not None and (everything or current.calls >= _MOST_CALLS or self._now() > current.until):
            self._current = None
        ended = [each.session for each in self._batches.values() if not each.open and each is not self._current]
        for session in ended:
            del self._batches[session]
        return ended
