"""As mcp_sd.agent.adapters.langgraph; here tools with `content_and_artifact` work too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from broker_plane.compat.mcp_sd.agent.adapters._wrapping import around
from broker_plane.compat.mcp_sd.agent.dispatch import S2SPDispatcher


def wrap_tool(dispatcher: S2SPDispatcher, tool: Any) -> Any:
    """A callable wrapped, or a LangChain tool whose `_run` and `_arun` were wrapped in place.

    Raises:
        TypeError: it is neither.
    """
    if _is_langchain(tool):
        for method in ("_run", "_arun"):
            if (original := getattr(tool, method, None)) is not None:
                object.__setattr__(tool, method, around(dispatcher, original, tool.name))
        return tool
    if not callable(tool):
        raise TypeError(f"A tool is a callable or a LangChain BaseTool, and no {type(tool).__name__}")
    return around(dispatcher, tool, getattr(tool, "__name__", "tool"))


def make_sd_tool_node(
    tools: Iterable[Any], *, dispatcher: S2SPDispatcher | None = None, **tool_node_kwargs: Any
) -> tuple[Any, S2SPDispatcher]:
    """A LangGraph ToolNode of the wrapped tools, and the dispatcher that they share."""
    from langgraph.prebuilt import ToolNode

    dispatcher = S2SPDispatcher() if dispatcher is None else dispatcher
    return ToolNode([wrap_tool(dispatcher, tool) for tool in tools], **tool_node_kwargs), dispatcher


def snapshot_buffer(dispatcher: S2SPDispatcher) -> dict[str, Any]:
    """The bodies that wait, by handle, for a checkpoint."""
    return dispatcher.buffer._store


def restore_buffer(dispatcher: S2SPDispatcher, snapshot: dict[str, Any]) -> None:
    """The bodies that wait are those of `snapshot`."""
    dispatcher.buffer._store = snapshot


def _is_langchain(tool: Any) -> bool:
    try:
        from langchain_core.tools import BaseTool
    except ImportError:
        return False
    return isinstance(tool, BaseTool)


__all__ = ["make_sd_tool_node", "restore_buffer", "snapshot_buffer", "wrap_tool"]
