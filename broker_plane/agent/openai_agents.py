"""The OpenAI Agents SDK: function tools (`wrap_tool`), and MCP servers that the runner calls (`wrap_server`).

dispatcher = Dispatcher()
tools = [wrap_tool(dispatcher, draw_chart), *reading_tools(dispatcher)]
agent = Agent(name="…", tools=tools, mcp_servers=[wrap_server(dispatcher, server)])
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from broker_plane.agent.dispatcher import Dispatcher, error_text, parse_arguments
from broker_plane.agent.reading_tools import AgentTool, agent_tools
from broker_plane.errors import BrokerPlaneError
from broker_plane.runtime.plane import Plane
from broker_plane.tabular.json_values import exact_json_bytes


def wrap_tool(dispatcher: Dispatcher, tool: Any) -> Any:
    """A copy of a FunctionTool that keeps bodies and large results from the model."""
    wrapped = copy.copy(tool)
    invoke = tool.on_invoke_tool

    async def on_invoke_tool(context: Any, text: str) -> Any:
        try:
            given = parse_arguments(text)
            return await dispatcher.around(
                tool.name, given, lambda filled: invoke(context, exact_json_bytes(filled).decode())
            )
        except BrokerPlaneError as error:
            return error_text(error)

    wrapped.on_invoke_tool = on_invoke_tool
    return wrapped


def wrap_server(dispatcher: Dispatcher, server: Any) -> Any:
    """An MCPServer of the SDK, wrapped in place: bodies and large results are removed from the results of
    `call_tool`.
    """
    call_tool = server.call_tool

    async def without_bodies(name: str, arguments: dict[str, Any] | None, *rest: Any, **options: Any) -> Any:
        return await dispatcher.around(name, arguments, lambda filled: call_tool(name, filled, *rest, **options))

    server.call_tool = without_bodies
    return server


def reading_tools(source: Dispatcher | Plane, *, plane: Plane | None = None, taken: Collection[str] = ()) -> list[Any]:
    """`read_body` and `describe_body`, and `query_body` with a plane, as function tools; see `agent_tools`."""
    return [_reading_tool(each) for each in agent_tools(source, plane=plane, taken=taken)]


def _reading_tool(made: AgentTool) -> Any:
    from agents import FunctionTool

    async def invoke(context: Any, text: str) -> str:
        try:
            answer = await made.call(parse_arguments(text))
        except BrokerPlaneError as error:
            return error_text(error)
        return f"Error: {answer.text}" if answer.is_error else answer.text

    return FunctionTool(
        name=made.name,
        description=made.tool.description,
        params_json_schema=made.tool.input_schema,
        on_invoke_tool=invoke,
        strict_json_schema=False,
    )
