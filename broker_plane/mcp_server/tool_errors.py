"""Our errors as protocol errors of MCP, for requests that are not tool calls."""

from __future__ import annotations

from mcp.shared.exceptions import MCPError

from broker_plane.errors import BrokerPlaneError, WireError

INVALID_PARAMS = -32602
FAILED = -31000
"""A code outside the ranges reserved by JSON-RPC and MCP; `data` has our error code."""


def protocol_error(error: BrokerPlaneError) -> MCPError:
    """The JSON-RPC error for one of ours, with our code in `data`."""
    return MCPError(INVALID_PARAMS if isinstance(error, WireError) else FAILED, str(error), {"code": error.code})
