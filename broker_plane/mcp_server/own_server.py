"""The SDK's server, as PlaneServer uses it."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.redacted_logs import redacted_logger

log = redacted_logger(__name__)


class OwnMCPServer(MCPServer[Any]):
    """The SDK's server, which reports our own errors in one line instead of a traceback."""

    async def call_tool(self, name: str, arguments: dict[str, Any], *rest: Any, **options: Any) -> Any:
        """As the SDK's; an error of ours in a tool becomes a ToolError with its text, which says what to do."""
        try:
            return await super().call_tool(name, arguments, *rest, **options)
        except UnexpectedToolError as error:
            cause = error.__cause__
            if not isinstance(cause, BrokerPlaneError):
                raise
            log.warning("The tool %s failed: %s", name, cause)
            raise ToolError(f"Error executing tool {name}: {cause}") from cause
