"""Errors of ours as errors of MCP, for requests that are no tool calls."""

from __future__ import annotations

from mcp.shared.exceptions import MCPError

from broker_plane.errors import BrokerPlaneError, WireError

INVALID_PARAMS = -32602
FAILED = -31000
"""Outside of what JSON-RPC and MCP keep for themselves; `data` has the code of the error."""


def refused(error: BrokerPlaneError) -> MCPError:
    """A refusal, with our code in `data`."""
    return MCPError(INVALID_PARAMS if isinstance(error, WireError) else FAILED, str(error), {"code": error.code})
