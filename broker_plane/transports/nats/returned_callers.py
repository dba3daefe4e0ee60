"""The inboxes of callers that came back to a durable request, beside the one that the request names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from broker_plane.exchange.messages import ExchangeKey
from broker_plane.transports.nats.wire_form import SILENT_SECONDS

_KEPT_SECONDS = 2 * SILENT_SECONDS
"""How long the callers of a request are kept that does not run here."""

_MOST_EACH = 8
_MOST = 10_000


class ReturnedCallers:
    """Every instance hears of every caller, because it may be the one that carries the request out, now or next."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is in seconds, of any clock."""
        self._now = now
        self._inboxes: OrderedDict[ExchangeKey, tuple[float, list[str]]] = OrderedDict()
        """The inboxes of each request, and until when they are kept."""

    def add(self, key: ExchangeKey, inbox: str) -> None:
        """A caller has come back. It says so again after a while without a word about its request."""
        self._drop_old()
        _, known = self._inboxes.pop(key, (0.0, []))
        others = [each for each in known if each != inbox]
        self._inboxes[key] = self._now() + _KEPT_SECONDS, [*others[1 - _MOST_EACH :], inbox]

    def of(self, key: ExchangeKey) -> list[str]:
        """Where the messages about a request go as well, which runs here."""
        if key not in self._inboxes:
            return []
        _, inboxes = self._inboxes.pop(key)
        self._inboxes[key] = self._now() + _KEPT_SECONDS, inboxes
        return inboxes

    def forget(self, key: ExchangeKey) -> None:
        """The request is answered."""
        self._inboxes.pop(key, None)

    def _drop_old(self) -> None:
        while self._inboxes:
            until, _ = next(iter(self._inboxes.values()))
            if until > self._now() and len(self._inboxes) < _MOST:
                return
            self._inboxes.popitem(last=False)
