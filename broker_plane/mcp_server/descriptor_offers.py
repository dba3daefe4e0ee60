"""Descriptors of data that no body of the plane has, such as those of a service with a protocol of its own.

They are offered as those of bodies are: the client gets the first that it can take, at Level 1 before Level 2, and none
for generated code unless it declares `level2`. This process remembers the offer until it expires.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from broker_plane.config import Settings
from broker_plane.errors import UnsupportedProtocolError, WireError
from broker_plane.mcp_server.offers import OfferRegistry, client_of_request
from broker_plane.tools import results
from broker_plane.tools.frameworks import ToolResult
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.tools.returned import is_bytes
from broker_plane.wire.capabilities import Capabilities, media_type_of
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.extension import ConfirmFields, Settlement
from broker_plane.wire.names import EXTENSION
from broker_plane.wire.offers import Cargo, Offer, Way, for_client, negotiate, rank
from broker_plane.wire.protocols import BUILT_IN, Protocol

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published
    from broker_plane.runtime.plane import Plane

_MAX_OFFERS = 8192

InlineData = Callable[[], Awaitable[Any]]
"""The data itself, for clients that cannot carry a descriptor out: rows, bytes, a Path, as `Plane.publish` takes it."""


@dataclass(frozen=True, slots=True)
class _Inline:
    data: InlineData
    media_type: str
    """Of opaque data."""

    @classmethod
    def of(cls, ways: Sequence[Way], data: InlineData | None) -> _Inline | None:
        return None if data is None else cls(data, media_type_of(ways[0].descriptor.format))

    async def published(self, plane: Plane) -> Published:
        data = await self.data()
        opaque: dict[str, Any] = {"media_type": self.media_type} if is_bytes(data) else {}
        return await plane.publish(data, uses="unlimited", **opaque)


@dataclass(slots=True)
class _Offered:
    client: str
    expires: float
    inline: _Inline | None
    grant: str = ""
    """Of the body that was published because the client could not carry the descriptor out."""
    settled: bool = False


class DescriptorOffers:
    """Offers descriptors, and remembers them; if there are too many, the oldest is dropped."""

    def __init__(
        self, holder: PlaneHolder, bodies: OfferRegistry, settings: Settings, now: Callable[[], float]
    ) -> None:
        self._holder = holder
        self._bodies = bodies
        self._settings = settings
        self._now = now
        self._offers: OrderedDict[str, _Offered] = OrderedDict()

    async def result(
        self,
        capabilities: Capabilities | None,
        descriptors: Sequence[Descriptor | Way],
        text: str,
        inline: InlineData | None,
    ) -> ToolResult:
        """The result for a client with these capabilities: a descriptor in `_meta`, or a body with the data.

        Raises:
            UnsupportedProtocolError: the client can take no descriptor, and there is no `inline`.
        """
        ways = [each if isinstance(each, Way) else Way(each) for each in descriptors]
        cargo = Cargo(size=next((way.descriptor.size_hint for way in ways), None))
        offer = for_client(rank(ways, cargo, self._settings.plain_http, await self._known(ways)), capabilities)
        chosen, reason = (choice := negotiate(offer, capabilities)).descriptor, choice.reason
        if chosen is None or capabilities is None:
            return await self._body(capabilities, text, reason, _Inline.of(ways, inline))
        self._keep(offer, _Inline.of(ways, inline))
        shape = {
            "text": text or "The data comes by the transfer descriptor of this result",
            "transfer_id": chosen.transfer_id,
            "protocol": chosen.protocol,
            "format": chosen.format,
            **({} if chosen.size_hint is None else {"size": chosen.size_hint}),
        }
        fallback = {"fallback": "error" if inline is None else "inline"}
        fields = (offer.to_wire(chosen, capabilities.schema_) or {}) | fallback
        others = [each | fallback for each in fields.get("alternatives", [])]
        return results.result(shape, meta={EXTENSION: fields | ({"alternatives": others} if others else {})})

    def settle(self, params: ConfirmFields) -> Settlement | None:
        """Note how a transfer ended; None if this process did not offer it to this client."""
        found = self._find(params.transfer_id)
        if found is None or found.grant:  # a body is settled by its delivery
            return None
        if found.settled:
            return "settled"
        found.settled = params.status == "success"
        return "confirmed" if found.settled else "released"

    async def grant(self, transfer_id: str) -> str | None:
        """The grant of a body with the data of an offer, which is published now; None if nothing was offered here.

        Raises:
            WireError: the data of this offer comes only by its descriptors.
        """
        found = self._find(transfer_id)
        if found is None:
            return None
        if not found.grant:
            if found.inline is None:
                raise WireError("The fallback of this descriptor is error: its data does not come inline")
            found.grant = (await found.inline.published(await self._holder.plane())).grant
        return found.grant

    async def _body(
        self, capabilities: Capabilities | None, text: str, reason: str, inline: _Inline | None
    ) -> ToolResult:
        if inline is None:
            raise UnsupportedProtocolError(f"This client cannot take the data: {reason.removeprefix('inline: ')}")
        plane = await self._holder.plane()
        published = await inline.published(plane)
        fields = results.offered(published, capabilities)
        if fields is not None:
            fields = await self._bodies.offer(plane, published, fields)
        shape: dict[str, Any] = {"size": published.body.size, "media_type": published.body.media_type}
        return results.in_async({**({"text": text} if text else {}), **shape}, published, "data", fields)

    async def _known(self, ways: Sequence[Way]) -> Mapping[str, Protocol]:
        """The facts about protocols, with those of plug-ins if there is one that is not built in."""
        if all(way.descriptor.protocol in BUILT_IN for way in ways):
            return BUILT_IN
        from broker_plane.transfer.registry import known_protocols  # deferred with the plane

        return await anyio.to_thread.run_sync(known_protocols, self._settings.handler_plugins)

    def _keep(self, offer: Offer, inline: _Inline | None) -> None:
        until = self._now() + self._settings.ttl_seconds
        expires = max(until if each.expires is None else each.expires.timestamp() for each in offer.descriptors)
        offered = _Offered(client_of_request(), expires, inline)
        for each in offer.descriptors:
            self._offers[each.transfer_id] = offered
            self._offers.move_to_end(each.transfer_id)
        while len(self._offers) > _MAX_OFFERS:
            self._offers.popitem(last=False)

    def _find(self, transfer_id: str) -> _Offered | None:
        found = self._offers.get(transfer_id.lower())
        if found is None or found.client != client_of_request() or not self._now() < found.expires:
            return None
        return found
