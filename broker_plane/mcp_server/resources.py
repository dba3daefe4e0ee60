"""A body by `resources/read`: the way that every MCP client has. Capped, because it goes through the model's side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mcp.server.mcpserver.exceptions import ResourceError

from broker_plane.errors import BrokerPlaneError, TooLargeError
from broker_plane.mcp_server.hold import PlaneHold
from broker_plane.tabular.json_values import dumps


def body_reader(hold: PlaneHold, limit: int) -> Callable[[str], Awaitable[str | bytes]]:
    """The function behind `plane://body/{grant}`: rows as JSON, an opaque body as it is, up to `limit` bytes."""

    async def read_body(grant: str) -> str | bytes:
        try:
            plane = await hold.plane()
            body = await plane.look(grant)
            if body.size > limit:
                raise TooLargeError(
                    f"The body has {body.size} bytes, above {limit}: hand its resource_url to a consumer tool"
                )
            pulled = await plane.pull(grant)
        except BrokerPlaneError as error:
            raise ResourceError(str(error)) from error
        return pulled if isinstance(pulled, bytes) else dumps(pulled).decode()

    return read_body
