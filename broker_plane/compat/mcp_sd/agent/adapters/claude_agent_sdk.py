"""As mcp_sd.agent.adapters.claude_agent_sdk; here the SDK's own result shape and its positional arguments work too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker_plane.compat.mcp_sd.agent.adapters._wrapping import around
from broker_plane.compat.mcp_sd.agent.dispatch import S2SPDispatcher


def wrap_tool(dispatcher: S2SPDispatcher) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for tool functions; apply it closest to the function, inside of the SDK's `@tool`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return around(dispatcher, function, getattr(function, "__name__", "tool"))

    return decorate


__all__ = ["wrap_tool"]
