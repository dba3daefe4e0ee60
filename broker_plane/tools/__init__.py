"""Resource and consumer tools for any MCP server framework.

    from broker_plane.tools import consumer_tool, resource_tool

Both take a function, and return one to register in MCPServer (mcp 2.x), in FastMCP 4 or in the FastMCP of mcp 1.x.
Importing this package imports none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker_plane.tools.decorators import consumer_tool, resource_tool

__all__ = ["consumer_tool", "resource_tool"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'broker_plane.tools' has no attribute {name!r}")
    from broker_plane.tools import decorators

    return getattr(decorators, name)
