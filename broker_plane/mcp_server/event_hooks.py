"""`events/subscribe` and `events/unsubscribe` (SEP-3415): an MCP client's webhook is registered in the plane.

The bridges send the events, so a subscription outlives the server process that made it, until the client stops
refreshing it.
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
"""The principal of a server that serves one client alone, over stdio or in its process."""


def principal_of(ctx: ServerRequestContext[Any, Any]) -> str:
    """The owner of the subscription.

    Raises:
        MCPError: Forbidden, if the server is on HTTP and the client is not authenticated.
    """
    token = get_access_token()
    if token is not None:
        return f"{token.client_id} {token.subject or ''}"
    if ctx.request is not None:
        raise MCPError(FORBIDDEN, "A webhook needs an owner: this server has to be configured with authorization")
    return LOCAL


async def subscribe(
    plane: Plane, principal: str, params: SubscribeParams, start: int, truncated: bool
) -> dict[str, Any]:
    """Subscribe, or refresh a subscription, which keeps its position. Raises as `plane.webhooks.subscribe`."""
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
    """Stop sending to the webhook. Raises WebhookError if there is no such subscription."""
    from broker_plane.wire.webhooks import (
        subscription_id,  # deferred: slow to import
    )

    hooks = plane.webhooks
    await hooks.remove(subscription_id(principal, params.name, params.delivery.url))
