"""The reading tools (broker_plane/reading/tools.py) as tools of an MCPServer."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import PrivateAttr

from broker_plane.errors import BrokerPlaneError
from broker_plane.reading.tools import ReadingTool, ToolAnswer, reading_tools
from broker_plane.tools.plane_holder import PlaneHolder


class _HeldTool(Tool):
    """A reading tool, whose arguments arrive as the model wrote them. It has no output schema."""

    _tool: ReadingTool = PrivateAttr()
    _holder: PlaneHolder = PrivateAttr()

    async def run(self, arguments: dict[str, Any], context: Any, convert_result: bool = False) -> Any:
        """One text block, for errors as well."""
        try:
            answer = await self._tool.call(await self._holder.plane(), arguments)
        except BrokerPlaneError as error:  # there is no plane
            answer = ToolAnswer(str(error), is_error=True)
        return CallToolResult(content=[TextContent(type="text", text=answer.text)], is_error=answer.is_error)


def mcp_reading_tools(holder: PlaneHolder) -> list[Tool]:
    """All reading tools, over the plane of `holder`."""
    return [_held(tool, holder) for tool in reading_tools()]


def _held(tool: ReadingTool, holder: PlaneHolder) -> Tool:
    async def call() -> str:
        """Not called: `run` has the arguments."""
        raise NotImplementedError

    made = _HeldTool.from_function(
        call,
        name=tool.name,
        title=tool.title,
        description=tool.description,
        annotations=ToolAnnotations(read_only_hint=True),
        structured_output=False,
    )
    assert isinstance(made, _HeldTool)  # noqa: S101  # `from_function` makes an object of the class it is called on
    made.parameters = tool.input_schema
    made._tool, made._holder = tool, holder
    return made
