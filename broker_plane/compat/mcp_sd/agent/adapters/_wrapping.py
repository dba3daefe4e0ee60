"""A tool function wrapped by a dispatcher."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from broker_plane.compat.mcp_sd.agent.dispatch import S2SPDispatcher


def around(dispatcher: S2SPDispatcher, function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`function`, with handles resolved in its keywords and in a dict that it gets by position, and bodies kept."""

    def given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # The Claude Agent SDK hands all arguments to a tool as one dict, by position.
        placed = tuple(dispatcher.on_tool_call(name, arg) if type(arg) is dict else arg for arg in args)
        return placed, dispatcher.on_tool_call(name, kwargs)

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def waiting(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = given(args, kwargs)
            return dispatcher.on_any_result(name, await function(*args, **kwargs))

        return waiting

    @wraps(function)
    def direct(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = given(args, kwargs)
        return dispatcher.on_any_result(name, function(*args, **kwargs))

    return direct
