"""Bodies by `resources/read`, which every MCP client has. The size is limited, because the result reaches the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError

from broker_plane.errors import BrokerPlaneError, TooLargeError
from broker_plane.mcp_server.capabilities import capabilities_of_call
from broker_plane.mcp_server.offers import OfferRegistry
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.offers import negotiate

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published


def body_reader(holder: PlaneHolder, offers: OfferRegistry, limit: int) -> Callable[..., Awaitable[str | bytes]]:
    """The function behind `plane://body/{grant}`: rows as JSON, an opaque body unchanged, up to `limit` bytes.

    For a larger body, a client that can carry out one of its descriptors gets that descriptor as JSON.
    """

    async def read_body(grant: str, ctx: Context) -> str | bytes:
        try:
            plane = await holder.plane()
            published = await plane.grants.describe(grant)
            if published.body.size > limit:
                fields = _descriptor(published, capabilities_of_call(ctx), limit)
                return json_bytes(await offers.offer(plane, published, fields)).decode()
            pulled = await plane.pull(grant)
        except BrokerPlaneError as error:
            raise ResourceError(str(error)) from error
        return pulled if isinstance(pulled, bytes) else json_bytes(pulled).decode()

    return read_body


def _descriptor(published: Published, capabilities: Capabilities | None, limit: int) -> dict[str, Any]:
    formats = capabilities.formats if capabilities else ()
    offer = published.offer(formats)
    choice = negotiate(offer, capabilities)
    if choice.descriptor is None:
        raise TooLargeError(
            f"The body has {published.body.size} bytes, above {limit}: hand its resource_url to a consumer tool"
        )
    return offer.to_wire(choice.descriptor, capabilities.schema_ if capabilities else None) or {}
