"""FastMCP 4: its tools return ToolResult, and its context needs no parameter."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from broker_plane.tools.frameworks import ToolResult, found
from broker_plane.tools.schema_model import schema_model


class FastMcpFramework:
    """FastMCP, as installed."""

    injects = False

    def __init__(self) -> None:
        self.context: type = found("fastmcp:Context")
        self._error = found("fastmcp.exceptions:ToolError")
        self._result = found("fastmcp.tools.base:ToolResult")
        self._call_result = found("mcp.types:CallToolResult")
        self._results = (self._result, self._call_result, found("mcp.types:InputRequiredResult"))
        self._tool = found("fastmcp.tools:Tool")
        self._get_context = found("fastmcp.server.dependencies:get_context")
        self.passed: tuple[type[BaseException], ...] = (
            found("fastmcp.exceptions:FastMCPError"),
            found("mcp.shared.exceptions:MCPError"),
        )

    def error(self, message: str) -> Exception:
        made: Exception = self._error(message, log_level=logging.INFO)  # an author's error is in the log already
        return made

    def is_result(self, value: Any) -> bool:
        return isinstance(value, self._results)

    def result(self, made: ToolResult) -> Any:
        content = [
            self._call_result.model_validate({"content": [block]}).content[0] if isinstance(block, dict) else block
            for block in made.content
        ]
        return self._result(content=content, structured_content=made.structured, meta=made.meta)

    def own(self, function: Callable[..., Any]) -> FastMcpTool:
        return FastMcpTool(self._tool.from_function(function), self._result)

    def current(self) -> Any:
        try:
            return self._get_context()
        except RuntimeError:  # called outside a server
            return None


class FastMcpTool:
    """A function as FastMCP registers it."""

    def __init__(self, tool: Any, result: type) -> None:
        self._tool = tool
        self._result = result
        self.schema: dict[str, Any] | None = tool.output_schema

    def plain(self, value: Any) -> ToolResult:
        made = self._tool.convert_result(value)
        return ToolResult(list(made.content), made.structured_content, made.meta)

    def annotation(self, schema: dict[str, Any] | None) -> Any:
        if schema is None and self.schema is None:
            return self._result
        return schema_model(schema or self.schema, self._tool.return_type)
