"""The Claude Agent SDK: tools of this process (`wrap_tool`), and tools of MCP servers that the CLI calls (`hooks`).

dispatcher = Dispatcher()

@tool("get_alerts", "…", {"area": str})
@wrap_tool(dispatcher)
async def get_alerts(args): ...

reading = create_sdk_mcp_server("reading", tools=reading_tools(dispatcher))
options = ClaudeAgentOptions(mcp_servers={"reading": reading, …}, hooks=hooks(dispatcher))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import wraps
from typing import Any

from broker_plane.agent.dispatcher import Dispatcher, ToolCall, error_text, failed
from broker_plane.agent.reading_tools import AgentTool, agent_tools
from broker_plane.errors import BrokerPlaneError
from broker_plane.runtime.plane import Plane

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def wrap_tool(dispatcher: Dispatcher, name: str = "") -> Callable[[Handler], Handler]:
    """A decorator for a tool's coroutine, below the SDK's `@tool`; the SDK passes all arguments as one dict."""

    def decorate(handler: Handler) -> Handler:
        tool = name or getattr(handler, "__name__", "tool")

        @wraps(handler)
        async def handle(arguments: dict[str, Any]) -> dict[str, Any]:
            try:
                result: dict[str, Any] = await dispatcher.around(tool, arguments, handler)
            except BrokerPlaneError as error:
                return {"content": [{"type": "text", "text": error_text(error)}], "is_error": True}
            return result

        return handle

    return decorate


def hooks(dispatcher: Dispatcher, matcher: str = "mcp__.*") -> dict[str, list[Any]]:
    """`ClaudeAgentOptions.hooks` for tools that the CLI calls itself; `matcher` is a pattern for their names.

    Before a call, a handle is replaced by `body_data`; a stale handle denies the call with the reason. After a call,
    bodies and large results are removed before the model reads it.
    """
    from claude_agent_sdk import HookMatcher

    calls: dict[str, ToolCall] = {}

    async def before(given: Any, use_id: str | None, context: Any) -> Any:
        try:
            call = await dispatcher.call(given["tool_name"], given["tool_input"])
        except BrokerPlaneError as error:
            denied = {"permissionDecision": "deny", "permissionDecisionReason": error_text(error)}
            return {"hookSpecificOutput": {"hookEventName": "PreToolUse", **denied}}
        if not call.taken:
            return {}
        calls[use_id or ""] = call
        return {"hookSpecificOutput": {"hookEventName": "PreToolUse", "updatedInput": call.arguments}}

    async def after(given: Any, use_id: str | None, context: Any) -> Any:
        call = calls.pop(use_id or "", None)
        returned = given["tool_response"]
        if call is not None and failed(returned):
            await dispatcher.undo(call)
        seen = await dispatcher.result(given["tool_name"], returned)
        if seen is returned:
            return {}
        return {"hookSpecificOutput": {"hookEventName": "PostToolUse", "updatedMCPToolOutput": seen}}

    async def after_failure(given: Any, use_id: str | None, context: Any) -> Any:
        call = calls.pop(use_id or "", None)
        if call is not None:
            await dispatcher.undo(call)
        return {}

    return {
        "PreToolUse": [HookMatcher(matcher=matcher, hooks=[before])],
        "PostToolUse": [HookMatcher(matcher=matcher, hooks=[after])],
        "PostToolUseFailure": [HookMatcher(matcher=matcher, hooks=[after_failure])],
    }


def reading_tools(source: Dispatcher | Plane, *, plane: Plane | None = None, taken: Collection[str] = ()) -> list[Any]:
    """The reading tools for `create_sdk_mcp_server`: `query_body` is among them with a plane; see `agent_tools`."""
    return [_reading_tool(each) for each in agent_tools(source, plane=plane, taken=taken)]


def _reading_tool(made: AgentTool) -> Any:
    from claude_agent_sdk import tool

    async def call(arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await made.call(arguments)
        return {"content": [{"type": "text", "text": answer.text}], "is_error": answer.is_error}

    return tool(made.name, made.tool.description, made.tool.input_schema)(call)
