"""`events/subscribe` and `events/unsubscribe` (SEP-3415): an MCP client's webhook is one of the plane's.

The plane's bridges send; so a subscription outlives the server process that made it, until the client stops refreshing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from broker_plane.mcp_server.event_shapes import FORBIDDEN, SubscribeParams, UnsubscribeParams

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane

DAY_SECONDS = 86_400.0
MOST_SECONDS = 7 * DAY_SECONDS
LOCAL = "local"
"""Who speaks to a server that runs for it alone, over stdio or in its process."""


def principal_of(ctx: ServerRequestContext[Any, Any]) -> str:
    """Whose subscription it is.

    Raises:
        MCPError: Forbidden, where the server is on HTTP and does not know who asks.
    """
    token = get_access_token()
    if token is not None:
        return f"{token.client_id} {token.subject or ''}"
    if ctx.request is not None:
        raise MCPError(FORBIDDEN, "A webhook is of somebody: this server needs an authorization to know of whom")
    return LOCAL


async def subscribe(
    plane: Plane, principal: str, params: SubscribeParams, start: int, truncated: bool
) -> dict[str, Any]:
    """Subscribe, or refresh what is there: that goes on where it is. Raises as `Hooking.subscribe`."""
    asked = DAY_SECONDS if params.ttl_ms is None else params.ttl_ms / 1000
    seconds = min(asked, MOST_SECONDS)
    before = datetime.fromtimestamp(time() + seconds, UTC)
    hooks = plane.webhooks
    delivery = params.delivery
    endpoint, new = await hooks.subscribe(
        principal, params.name, delivery.url, delivery.secret, begin=start, seconds=seconds
    )
    return {
        "id": endpoint.id,
        "refreshBefore": before.isoformat().replace("+00:00", "Z"),
        "cursor": str(start - 1) if new else params.cursor,
        "truncated": new and truncated,
    }


async def unsubscribe(plane: Plane, principal: str, params: UnsubscribeParams) -> None:
    """Nothing is sent there any more. Raises WebhookError where nothing was."""
    from broker_plane.wire.webhooks import subscription_id  # with the plane, and not at the start of a server

    hooks = plane.webhooks
    await hooks.remove(subscription_id(principal, params.name, params.delivery.url))
