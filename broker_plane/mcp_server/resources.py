"""A body by `resources/read`: the way that every MCP client has. Capped, because it goes through the model's side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError

from broker_plane.errors import BrokerPlaneError, TooLargeError
from broker_plane.mcp_server.capabilities import capabilities_of_call
from broker_plane.mcp_server.plane_holder import PlaneHold
from broker_plane.tabular.json_values import dumps
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.offers import negotiate

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published


def body_reader(hold: PlaneHold, limit: int) -> Callable[..., Awaitable[str | bytes]]:
    """The function behind `plane://body/{grant}`: rows as JSON, an opaque body as it is, up to `limit` bytes.

    A client that takes one of the body's descriptors gets that, as JSON, in the place of a larger one.
    """

    async def read_body(grant: str, ctx: Context) -> str | bytes:
        try:
            plane = await hold.plane()
            published = await plane.grants.describe(grant)
            if published.body.size > limit:
                fields = _descriptor(published, capabilities_of_call(ctx), limit)
                return dumps(await hold.handed.offer(plane, published, fields)).decode()
            pulled = await plane.pull(grant)
        except BrokerPlaneError as error:
            raise ResourceError(str(error)) from error
        return pulled if isinstance(pulled, bytes) else dumps(pulled).decode()

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
