"""Errors as MCP has them: ours say what to do, and those of a tool's author say where to look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from mcp.server.mcpserver.exceptions import ResourceError, ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError

from broker_plane.errors import BrokerPlaneError, WireError

INVALID_PARAMS = -32602
FAILED = -31000
"""Outside of what JSON-RPC and MCP keep for themselves; `data` has the code of the error."""


def protocol_error(error: BrokerPlaneError) -> MCPError:
    """A refusal, with our code in `data`."""
    return MCPError(INVALID_PARAMS if isinstance(error, WireError) else FAILED, str(error), {"code": error.code})


@contextmanager
def as_tool_errors(tool: str) -> Iterator[None]:
    """What the function of a tool raises in the block, as the model may read it.

    The text of an unexpected exception stays in the server's log, as the SDK has it: it may holder what is secret. Its
    type and what to do about it do not.
    """
    try:
        yield
    except BrokerPlaneError as error:
        raise ToolError(str(error)) from error
    except (MCPError, ToolError, ResourceError):
        raise
    except Exception as error:
        raise UnexpectedToolError(_sentence(tool, error)) from error


def _sentence(tool: str, error: Exception) -> str:
    path = getattr(error, "filename", None)
    name = PurePath(path).name if isinstance(path, (str, PurePath)) else ""
    if isinstance(error, FileNotFoundError) and name:
        return f"{tool} needs the file {name!r}, which is not there; its author has to make it first"
    if isinstance(error, IsADirectoryError) and name:
        return f"{tool} opened the directory {name!r} as a file; its author has to name a file in it"
    if isinstance(error, PermissionError) and name:
        return f"{tool} may not open {name!r}; whoever runs its server has to allow it"
    return (
        f"{tool} raised {type(error).__name__}, which is a fault of the tool or of these arguments; the log of its "
        "server says where. Try other arguments, or tell the user"
    )
