"""LangChain and LangGraph: tools wrapped by a dispatcher, including those of `content_and_artifact`.

dispatcher = Dispatcher()
tools = [get_alerts, draw_chart, *reading_tools(dispatcher)]
node = tool_node(tools, dispatcher)       # or create_agent(model, wrap_tools(tools, dispatcher))
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable
from functools import partial, wraps
from typing import Any

from broker_plane.agent.dispatcher import BODY, URL, Dispatcher
from broker_plane.agent.reading_tools import MARK, AgentTool, agent_tools
from broker_plane.agent.wire_form import WithArtifact
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.runtime.plane import Plane

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
    if (found.metadata or {}).get(MARK):
        return found
    if URL in found.args and BODY not in found.args:
        raise ConfigError(f"The tool {found.name} has the parameter {URL}; add {BODY}: str = '' to receive the rows")

    for method in _RUNS:
        run = _around(dispatcher, getattr(found, method), found, ToolException)
        object.__setattr__(found, method, run)
    return found


def wrap_tools(tools: Iterable[Any], dispatcher: Dispatcher) -> list[Any]:
    return [wrap_tool(dispatcher, tool) for tool in tools]


def tool_node(tools: Iterable[Any], dispatcher: Dispatcher, **options: Any) -> Any:
    """A LangGraph ToolNode with the wrapped tools; `options` are passed to it."""
    from langgraph.prebuilt import ToolNode

    return ToolNode(wrap_tools(tools, dispatcher), **options)


def reading_tools(source: Dispatcher | Plane, *, plane: Plane | None = None, taken: Collection[str] = ()) -> list[Any]:
    """`read_body` and `describe_body`, and `query_body` with a plane, as LangChain tools; see `agent_tools`."""
    return [_reading_tool(each) for each in agent_tools(source, plane=plane, taken=taken)]


def _reading_tool(made: AgentTool) -> Any:
    from langchain_core.tools import StructuredTool, ToolException

    async def waiting(**arguments: Any) -> str:
        answer = await made.call(arguments)
        if answer.is_error:
            raise ToolException(answer.text)
        return answer.text

    def direct(**arguments: Any) -> str:
        return asyncio.run(waiting(**arguments))

    return StructuredTool(
        name=made.name,
        description=made.tool.description,
        args_schema=made.tool.input_schema,
        func=direct,
        coroutine=waiting,
        handle_tool_error=True,
        metadata={MARK: True},
    )


def _around(dispatcher: Dispatcher, run: Callable[..., Any], tool: Any, refused: Callable[[str], Exception]) -> Any:
    """`run`, whose keywords are the model's arguments and those that LangChain adds (`config`, `run_manager`)."""
    split = partial(_with_artifact, has_artifact=tool.response_format == "content_and_artifact")

    if inspect.iscoroutinefunction(run):

        @wraps(run)
        async def waiting(*args: Any, **keywords: Any) -> Any:
            own, given = _parted(keywords)

            async def filled_run(filled: dict[str, Any]) -> Any:
                return split(await run(*args, **own, **filled))

            try:
                made = await dispatcher.around(tool.name, given, filled_run)
                messages = [await dispatcher.result(tool.name, message) for message in _messages(made)]
            except BrokerPlaneError as error:
                raise refused(str(error)) from error
            return _joined(made, messages)

        return waiting

    @wraps(run)
    def direct(*args: Any, **keywords: Any) -> Any:
        own, given = _parted(keywords)
        try:
            made = dispatcher.around_now(tool.name, given, lambda filled: split(run(*args, **own, **filled)))
            messages = [dispatcher.result_now(tool.name, message) for message in _messages(made)]
        except BrokerPlaneError as error:
            raise refused(str(error)) from error
        return _joined(made, messages)

    return direct


def _with_artifact(result: Any, *, has_artifact: bool) -> Any:
    """The result with the part that the model does not read as an artifact: also a Command of LangGraph."""
    if _is_command(result):
        return WithArtifact("", result)
    return WithArtifact(*result) if has_artifact and isinstance(result, tuple) and len(result) == 2 else result


def _messages(made: Any) -> list[Any]:
    """The messages in a Command, which the model reads."""
    if not isinstance(made, WithArtifact) or not _is_command(made.artifact):
        return []
    update = made.artifact.update
    messages = update.get("messages") if isinstance(update, dict) else None
    return list(messages) if isinstance(messages, (list, tuple)) else []


def _joined(made: Any, messages: list[Any]) -> Any:
    """The result for LangChain."""
    if not isinstance(made, WithArtifact):
        return made
    if not _is_command(made.artifact):
        return made.content, made.artifact
    if not messages:
        return made.artifact
    return dataclasses.replace(made.artifact, update={**made.artifact.update, "messages": messages})


def _is_command(value: Any) -> bool:
    from langchain_core.messages import BaseMessage
    from langchain_core.messages.tool import ToolOutputMixin

    return isinstance(value, ToolOutputMixin) and not isinstance(value, BaseMessage) and dataclasses.is_dataclass(value)


def _parted(keywords: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of LangChain, and those of the model."""
    own = {name: value for name, value in keywords.items() if name in ("config", "run_manager")}
    return own, {name: value for name, value in keywords.items() if name not in own}
