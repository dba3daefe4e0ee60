"""The reading tools of the proxy itself: under which names they are listed, and their calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

from broker_plane.errors import BrokerPlaneError
from broker_plane.reading.tools import PREFIX, ReadingTool, ToolAnswer
from broker_plane.runtime.plane import Plane

Connect = Callable[[], Awaitable[Plane]]


class OwnTools:
    """The tools with which a model reads results that were offloaded. A name that the upstream uses gets a prefix."""

    def __init__(self, tools: Iterable[ReadingTool], connect: Connect) -> None:
        self._tools = tuple(tools)
        self._connect = connect
        self.possible = frozenset(name for tool in self._tools for name in (tool.name, PREFIX + tool.name))
        """Every name that one of them may have."""

    def named(self, taken: Collection[str]) -> dict[str, ReadingTool]:
        """The tools by their names; `taken` are the upstream's. A tool whose names are both taken is left out."""
        names = {
            tool.name: next((n for n in (tool.name, PREFIX + tool.name) if n not in taken), "") for tool in self._tools
        }
        return {names[tool.name]: tool for tool in self._tools if names[tool.name]}

    def listed(self, taken: Collection[str]) -> list[dict[str, Any]]:
        """The tools as `tools/list` has them."""
        return [
            {
                "name": name,
                "title": tool.title,
                "description": tool.description,
                "inputSchema": tool.input_schema,
                "annotations": {"readOnlyHint": True, "openWorldHint": False},
            }
            for name, tool in self.named(taken).items()
        ]

    async def call(self, tool: ReadingTool, arguments: Mapping[str, Any] | None) -> ToolAnswer:
        """The result of a call; if the plane cannot be connected, an error that says so."""
        if arguments is None:
            return ToolAnswer("The arguments of a tool are an object", is_error=True)
        try:
            plane = await self._connect()
        except BrokerPlaneError as error:
            return ToolAnswer(str(error), is_error=True)
        return await tool.call(plane, arguments)
