"""Who was offered what. A descriptor that goes out carries a seal on its grant and its client, which comes back with
`transfer/confirm` and `transfer/unable`: so every replica of a server knows its offers, also after a restart.

A client that names the transfer id alone (SEP-2433) is known by it in the process that made the offer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcp.server.auth.middleware.auth_context import get_access_token

from broker_plane.errors import WireError

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published
    from broker_plane.runtime.plane import Plane

_MOST = 8192
_OFFERED_TO = "offered to"


@dataclass(frozen=True, slots=True)
class _Offered:
    grant: str
    client: str
    expires: float


class Handed:
    """Seals offers, and remembers them until they expire; beyond the most, the oldest is forgotten.

    `most` is in bytes: a larger body does not go inline (0: any does).
    """

    def __init__(self, now: Callable[[], float], most: int = 0) -> None:
        self._now = now
        self._most = most
        self._offers: OrderedDict[str, _Offered] = OrderedDict()

    async def offer(self, plane: Plane, published: Published, fields: dict[str, Any]) -> dict[str, Any]:
        """A descriptor's `fields`, its alternatives' too, as the client of the request under way is given them."""
        client = client_of_request()
        # Its expiry is by nats-server's clock; how long it lives is the same on every clock.
        expires = self._now() + published.expires - plane.wiring.now()
        self._keep(published.transfer_id, _Offered(published.grant, client, expires))
        inline = not self._most or published.body.size <= self._most
        ours = {
            "fallback": "inline" if inline else "error",
            "seal": await plane.keys.vouch(published.grant, _OFFERED_TO, client),
        }
        others = [{**each, **ours} for each in fields.get("alternatives", [])]
        return {**fields, **ours, **({"alternatives": others} if others else {})}

    async def find(self, plane: Plane, transfer_id: str, endpoint: str, seal: str) -> str:
        """The grant of an offer that this client was given: by its seal, else by what this process remembers.

        Raises:
            WireError: it was given none of that id, or it is over.
        """
        from broker_plane.wire.grant import grant_of, transfer_id_of  # with the plane, not at the start of a server

        client = client_of_request()
        if seal:
            grant = grant_of(urlsplit(endpoint).path)
            if transfer_id_of(grant) == transfer_id and await plane.keys.vouched(grant, seal, _OFFERED_TO, client):
                return grant
        else:
            found = self._offers.get(transfer_id)
            if found is not None and found.client == client and self._now() < found.expires:
                return found.grant
        raise WireError("transfer_id names no transfer that you were offered here, or it is over")

    def _keep(self, transfer_id: str, offered: _Offered) -> None:
        self._offers[transfer_id] = offered
        self._offers.move_to_end(transfer_id)
        while self._offers and (len(self._offers) > _MOST or not self._now() < self._first().expires):
            self._offers.popitem(last=False)

    def _first(self) -> _Offered:
        return next(iter(self._offers.values()))


def client_of_request() -> str:
    """The id of the client that the request under way was authenticated for; empty where nobody was."""
    found = get_access_token()
    return found.client_id if found else ""
