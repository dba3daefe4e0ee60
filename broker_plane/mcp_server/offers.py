"""Remembers which client was offered which body.

An offered descriptor has a seal over its grant and its client, which the client returns with `transfer/confirm` and
`transfer/unable`. So every replica of a server recognizes its offers, also after a restart. A client that returns the
transfer id alone, as SEP-2433 has it, is recognized by the process that made the offer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcp.server.auth.middleware.auth_context import get_access_token

from broker_plane.errors import WireError

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published
    from broker_plane.runtime.plane import Plane

_MAX_OFFERS = 8192
_OFFERED_TO = "offered to"
_client: ContextVar[str] = ContextVar("client", default="")


@dataclass(frozen=True, slots=True)
class _Offered:
    grant: str
    client: str
    expires: float


class OfferRegistry:
    """Seals offers, and remembers them until they expire; if there are too many, the oldest is dropped.

    A body of more than `max_inline_bytes` is not returned inline (0: no limit).
    """

    def __init__(self, now: Callable[[], float], max_inline_bytes: int = 0) -> None:
        self._now = now
        self._max_inline_bytes = max_inline_bytes
        self._offers: OrderedDict[str, _Offered] = OrderedDict()

    async def offer(self, plane: Plane, published: Published, fields: dict[str, Any]) -> dict[str, Any]:
        """A descriptor's `fields` (and its alternatives'), sealed for the client of the current request."""
        client = client_of_request()
        # The expiry is in nats-server's time; the remaining lifetime is the same on every clock.
        expires = self._now() + published.expires - plane.wiring.now()
        self._keep(published.transfer_id, _Offered(published.grant, client, expires))
        inline = not self._max_inline_bytes or published.body.size <= self._max_inline_bytes
        ours = {
            "fallback": "inline" if inline else "error",
            "seal": await plane.keys.vouch(published.grant, _OFFERED_TO, client),
        }
        others = [{**each, **ours} for each in fields.get("alternatives", [])]
        return {**fields, **ours, **({"alternatives": others} if others else {})}

    async def find(self, plane: Plane, transfer_id: str, endpoint: str, seal: str) -> str:
        """The grant of an offer to this client, by its seal or from the memory of this process.

        Raises:
            WireError: this client was not offered a transfer with this id, or the offer has expired.
        """
        from broker_plane.wire.grant import grant_of, transfer_id_of  # deferred with the plane

        client = client_of_request()
        if seal:
            grant = grant_of(urlsplit(endpoint).path)
            if transfer_id_of(grant) == transfer_id and await plane.keys.vouched(grant, seal, _OFFERED_TO, client):
                return grant
        else:
            found = self._offers.get(transfer_id)
            if found is not None and found.client == client and self._now() < found.expires:
                return found.grant
        raise WireError("transfer_id does not name a transfer that this client was offered, or the offer has expired")

    def _keep(self, transfer_id: str, offered: _Offered) -> None:
        self._offers[transfer_id] = offered
        self._offers.move_to_end(transfer_id)
        while self._offers and (len(self._offers) > _MAX_OFFERS or not self._now() < self._first().expires):
            self._offers.popitem(last=False)

    def _first(self) -> _Offered:
        return next(iter(self._offers.values()))


def client_of_request() -> str:
    """The id of the authenticated client of the current request, or of the task; empty without authentication."""
    found = get_access_token()
    return found.client_id if found else _client.get()


@contextmanager
def serving_client(client_id: str) -> Iterator[None]:
    """A block that works for a client which had authenticated when it created the task."""
    token = _client.set(client_id)
    try:
        yield
    finally:
        _client.reset(token)
