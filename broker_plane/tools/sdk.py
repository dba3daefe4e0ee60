"""The Python SDK: MCPServer of mcp 2.x, and FastMCP of mcp 1.x, which inspect functions alike."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any, get_args

from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools.frameworks import ToolResult, found
from broker_plane.tools.returned import rows_to_show
from broker_plane.tools.schema_model import schema_model


class SdkFramework:
    """The SDK that is installed, of either major version."""

    injects = True

    def __init__(self) -> None:
        second = not version("mcp").startswith("1.")
        home = "mcp.server.mcpserver" if second else "mcp.server.fastmcp"
        self.context: type = found(f"{home}:Context")
        self._error = found(f"{home}.exceptions:ToolError")
        self._result = found("mcp.types:CallToolResult")
        self._results = (self._result, found("mcp.types:InputRequiredResult")) if second else (self._result,)
        self._metadata = found(f"{home}.utilities.func_metadata:func_metadata")
        protocol_error = found(f"mcp.shared.exceptions:{'MCPError' if second else 'McpError'}")
        self.passed: tuple[type[BaseException], ...] = (
            protocol_error,
            self._error,
            found(f"{home}.exceptions:ResourceError"),
        )
        types = f"{home}.utilities.types"
        self._blocks = (
            *get_args(found("mcp.types:ContentBlock")),
            found(f"{types}:Image"),
            found(f"{types}:Audio"),
        )

    def error(self, message: str) -> Exception:
        made: Exception = self._error(message)
        return made

    def is_result(self, value: Any) -> bool:
        return isinstance(value, self._results)

    def result(self, made: ToolResult) -> Any:
        if any(not isinstance(block, dict) for block in made.content):
            parsed = self._result.model_validate({**made.to_wire(), "content": []})
            return parsed.model_copy(update={"content": made.content})
        return self._result.model_validate(made.to_wire())

    def own(self, function: Callable[..., Any]) -> SdkTool:
        return SdkTool(self._metadata(function), self._result, self._blocks)

    def current(self) -> Any:
        return None


class SdkTool:
    """A function as the SDK registers it."""

    def __init__(self, metadata: Any, result: type, blocks: tuple[type, ...]) -> None:
        self._metadata = metadata
        self._result = result
        self._blocks = blocks
        self.schema: dict[str, Any] | None = metadata.output_schema

    def plain(self, value: Any) -> ToolResult:
        """As the SDK converts it, except that a list is one text and not one for each item."""
        made: Any = self._metadata.convert_result(value)
        if isinstance(made, tuple):  # mcp 1.x
            content, structured = made
        else:
            content, structured = (made, None) if isinstance(made, list) else (made.content, made.structured_content)
        if isinstance(value, (list, tuple)) and not self._has_blocks(value):
            content = [{"type": "text", "text": json_bytes(rows_to_show(value)).decode()}]
        return ToolResult(list(content), structured)

    def annotation(self, schema: dict[str, Any] | None) -> Any:
        if schema is None and self.schema is None:
            return self._result
        made = schema_model(schema or self.schema, self._metadata.output_model)
        return Annotated[self._result, made]

    def _has_blocks(self, value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(map(self._has_blocks, value))
        return isinstance(value, self._blocks)
