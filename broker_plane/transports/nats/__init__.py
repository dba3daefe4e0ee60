"""MCP over NATS (docs/mcp-over-nats.md): requests to any instance of a server, durable tool calls, sessions.

The one rule: a client of the server X publishes below `bp.mcp.X.in`, and hears its own inbox; it needs nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker_plane.transports.nats.client import nats_client

__all__ = ["nats_client"]


def __getattr__(name: str) -> Any:
    if name != "nats_client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from broker_plane.transports.nats.client import nats_client  # it imports the SDK, which `proxy -- nats:` needs not

    return nats_client
