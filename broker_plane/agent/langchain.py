"""LangChain and LangGraph: tools wrapped by a dispatcher, including those of `content_and_artifact`.

dispatcher = Dispatcher()
node = tool_node([get_alerts, draw_chart], dispatcher)       # or create_agent(model, wrap_tools(tools, dispatcher))
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from broker_plane.agent.dispatcher import BODY, URL, Dispatcher
from broker_plane.errors import BrokerPlaneError, ConfigError

_RUNS = ("_run", "_arun")


def wrap_tool(dispatcher: Dispatcher, tool: Any) -> Any:
    """A LangChain tool, wrapped in place; a function is first made a tool.

    A synchronous tool needs a dispatcher whose bodies are in memory.

    Raises:
        ConfigError: it has a parameter `resource_url` but no `body_data` for the rows.
    """
    from langchain_core.tools import BaseTool, ToolException
    from langchain_core.tools import tool as made

    found: Any = tool if isinstance(tool, BaseTool) else made(tool)
    if URL in found.args and BODY not in found.args:
        raise ConfigError(f"The tool {found.name} has the parameter {URL}; add {BODY}: str = '' to receive the rows")

    for method in _RUNS:
        object.__setattr__(found, method, _around(dispatcher, getattr(found, method), found.name, ToolException))
    return found


def wrap_tools(tools: Iterable[Any], dispatcher: Dispatcher) -> list[Any]:
    return [wrap_tool(dispatcher, tool) for tool in tools]


def tool_node(tools: Iterable[Any], dispatcher: Dispatcher, **options: Any) -> Any:
    """A LangGraph ToolNode with the wrapped tools; `options` are passed to it."""
    from langgraph.prebuilt import ToolNode

    return ToolNode(wrap_tools(tools, dispatcher), **options)


def _around(
    dispatcher: Dispatcher, run: Callable[..., Any], name: str, refused: Callable[[str], Exception]
) -> Callable[..., Any]:
    """`run`, whose keywords are the model's arguments and those that LangChain adds (`config`, `run_manager`)."""

    if inspect.iscoroutinefunction(run):

        @wraps(run)
        async def waiting(*args: Any, **keywords: Any) -> Any:
            own, given = _parted(keywords)
            try:
                return await dispatcher.around(name, given, lambda filled: run(*args, **own, **filled))
            except BrokerPlaneError as error:
                raise refused(str(error)) from error

        return waiting

    @wraps(run)
    def direct(*args: Any, **keywords: Any) -> Any:
        own, given = _parted(keywords)
        try:
            return dispatcher.around_now(name, given, lambda filled: run(*args, **own, **filled))
        except BrokerPlaneError as error:
            raise refused(str(error)) from error

    return direct


def _parted(keywords: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of LangChain, and those of the model."""
    own = {name: value for name, value in keywords.items() if name in ("config", "run_manager")}
    return own, {name: value for name, value in keywords.items() if name not in own}
