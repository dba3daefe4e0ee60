"""The capabilities that the client of the current request declares."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context
from mcp.types import ClientCapabilities

from broker_plane.errors import WireError
from broker_plane.wire.capabilities import Capabilities, declared


def capabilities_of(client: ClientCapabilities | None) -> Capabilities | None:
    """The client's declaration about descriptors; None if there is none, or it is invalid."""
    try:
        return declared(client.extensions if client else None)
    except WireError:
        return None


def capabilities_of_call(ctx: Context[Any, Any]) -> Capabilities | None:
    """As `capabilities_of`; None for a tool that is called in its own process, which has no client."""
    try:
        return capabilities_of(ctx.client_capabilities)
    except ValueError:
        return None
