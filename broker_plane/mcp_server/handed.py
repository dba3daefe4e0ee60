"""What this process offered and to whom, by transfer id: a client confirms or refuses a transfer by nothing else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from mcp.server.auth.middleware.auth_context import get_access_token

from broker_plane.wire.body import BodyInfo
from broker_plane.wire.descriptor import Descriptor

_MOST = 8192


@dataclass(frozen=True, slots=True)
class Offered:
    """A descriptor, and the body of the same grant. `client` is who was authenticated, if anybody was."""

    descriptor: Descriptor
    resource_url: str
    body: BodyInfo
    client: str


class Handed:
    """Remembers offers until they expire; beyond the most, the oldest is forgotten."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._offers: OrderedDict[str, Offered] = OrderedDict()

    def keep(self, descriptor: Descriptor, resource_url: str, body: BodyInfo) -> None:
        """Remember an offer for the client of the request under way."""
        self._offers[descriptor.transfer_id] = Offered(descriptor, resource_url, body, client_of_request())
        self._offers.move_to_end(descriptor.transfer_id)
        while len(self._offers) > _MOST or not self._first().live(self._now()):
            self._offers.popitem(last=False)
            if not self._offers:
                return

    def find(self, transfer_id: str) -> Offered | None:
        """The offer that this client was given; None where it was given none of that id, or it is over."""
        found = self._offers.get(transfer_id)
        if found is None or found.client != client_of_request() or not found.descriptor.live(self._now()):
            return None
        return found

    def _first(self) -> Descriptor:
        return next(iter(self._offers.values())).descriptor


def client_of_request() -> str:
    """The id of the client that the request under way was authenticated for; empty where nobody was."""
    found = get_access_token()
    return found.client_id if found else ""
